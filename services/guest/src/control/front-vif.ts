/** The guest's vif: the frontend's half of the handshake (shared/xen/src/xenbus/frontend.ts), and what it connects; and the
 *  addresses that the toolstack gave it (readOwnAddress). */
import { NETWORK_PREFIX, DOMID_DRIVER, parseDomId, type DomId, type Factors } from '@grantline/base';
import {
  frontendPath,
  parseNumber,
  XENBUS,
  XENBUS_NAMES,
  messageOf,
  XenbusFrontend,
  type XenstoreClient,
  type XenbusState,
  type XenstoreOp,
} from '@grantline/xen';
import { slots } from '@grantline/machine';
import { NETFRONT_COUNTERS } from '@grantline/observe';
import { CONNECTION_KEYS, FrontConnection } from './front-connection.js';
import type { VifHost } from './vif-host.js';

const C = slots(NETFRONT_COUNTERS);

export class FrontVif {
  connection: FrontConnection | null = null;
  mac = '';
  /** True from the end of the pool's set-up to the disconnect: buffers are posted. */
  ready = false;
  private readonly host: VifHost;
  private readonly front: string;
  private readonly onReady: () => void;
  private backendId: DomId = DOMID_DRIVER;
  private bus: XenbusFrontend | null = null;

  /** @param onReady called each time that the vif gets ready */
  constructor(host: VifHost, onReady: () => void) {
    this.host = host;
    this.onReady = onReady;
    this.front = frontendPath(host.domid, 0);
  }

  get state(): XenbusState {
    return this.bus?.state ?? XENBUS.initialising;
  }

  /** Reads who the backend is and follows its state from now on. @throws Error when the frontend directory is no vif's */
  async begin(): Promise<void> {
    const { xenstore, log } = this.host;
    const read = (key: string): Promise<string | null> => xenstore.read(`${this.front}/${key}`);
    const [back, id, mac] = [await read('backend'), parseNumber(await read('backend-id')), await read('mac')];
    if (back === null || id === null || mac === null)
      throw new Error(`${this.front} has no backend, backend-id or mac`);
    this.backendId = parseDomId(id);
    this.mac = mac;
    const hooks = {
      open: (generation: number, factors: Factors) => this.open(generation, factors),
      keys: () => this.keys(),
      start: () => this.start(),
      stop: () => this.stop(),
      close: () => this.close(),
    };
    const bus = new XenbusFrontend({ store: xenstore, back, front: this.front, hooks, log });
    this.bus = bus;
    await xenstore.watch(`${back}/state`, () => void bus.look());
  }

  /** Something changed. Never runs twice at a time. @returns when all is looked at */
  async look(): Promise<void> {
    await this.bus?.look();
  }

  /** The service ends: nothing is served any more, and netback is told. The memory is the hypervisor's to take back. */
  async end(): Promise<void> {
    this.ready = false;
    await this.bus?.end();
  }

  describe(): Record<string, unknown> {
    const { mac, ready, backendId, bus } = this;
    const state = XENBUS_NAMES[this.state];
    const connection = this.connection?.describe() ?? null;
    return { mac, backendId, state, ready, error: bus?.error ?? null, connection };
  }

  private async open(generation: number, factors: Factors): Promise<void> {
    const host = this.guarded((err) => this.failed(connection, err));
    const connection: FrontConnection = new FrontConnection(host, this.backendId, generation, factors);
    this.connection = connection;
    try {
      await connection.open(this.mac, (reason) => this.broken(connection, reason));
    } catch (err) {
      this.connection = null;
      throw err;
    }
  }

  private async keys(): Promise<XenstoreOp[]> {
    const present = new Set(await this.host.xenstore.directory(this.front));
    const old = CONNECTION_KEYS.filter((key) => present.has(key));
    return [
      ...old.map((key) => ({ op: 'rm' as const, path: `${this.front}/${key}` })),
      ...this.connection!.keys(this.front),
    ];
  }

  private start(): void {
    const { connection } = this;
    if (connection === null || connection.started) return;
    this.host.log.info({ ...connection.factors }, 'vif connected');
    // Not waited for: netback may answer late or never, and its next state must be seen meanwhile.
    void connection.start().then(
      () => {
        if (this.connection !== connection || !connection.running) return;
        this.ready = true;
        this.onReady();
      },
      (err: unknown) => this.failed(connection, err),
    );
  }

  private stop(): void {
    this.ready = false;
    this.connection?.stop();
  }

  private async close(): Promise<void> {
    const { connection } = this;
    this.connection = null;
    this.ready = false;
    await connection?.close();
  }

  /** The service as a connection sees it: what its pollers throw is that connection's affair. */
  private guarded(onFault: (err: unknown) => void): VifHost {
    const { host } = this;
    const { loop } = host;
    return {
      ...host,
      loop: {
        add: (poller) => loop.add(poller, onFault),
        remove: (poller) => loop.remove(poller),
        schedule: (poller) => loop.schedule(poller),
      },
    };
  }

  /** A fault of ours in the work of the vif: it is disabled, as when the peer is at fault. The service goes on. */
  private failed(connection: FrontConnection, err: unknown): void {
    const { netfront, log } = this.host;
    netfront.v[C.exceptions]++;
    netfront.commit();
    log.error({ err }, 'an exception in the work of the vif');
    this.broken(connection, `internal error: ${messageOf(err)}`);
  }

  /** The peer did something impossible. From inside a poll: the loop's list is changed after it. */
  private broken(connection: FrontConnection, reason: string): void {
    void Promise.resolve().then(() => {
      try {
        connection.stop();
      } catch (err) {
        this.host.log.warn({ err }, 'a step of the disconnect failed');
      }
      if (this.connection !== connection) return;
      this.ready = false;
      this.bus?.faulted(reason);
    });
  }
}

/** The guest's own addresses, as the toolstack wrote them. */
interface OwnAddress {
  mac: string;
  ip: string;
  /** Length of the network's prefix. */
  prefix: number;
  /** null: there is none. */
  gateway: string | null;
}

/** @throws Error when the frontend directory lacks one of them */
export async function readOwnAddress(xenstore: Pick<XenstoreClient, 'read'>, domid: DomId): Promise<OwnAddress> {
  const front = frontendPath(domid, 0);
  const mac = await xenstore.read(`${front}/mac`);
  const ip = await xenstore.read(`${front}/ip`);
  if (mac === null || ip === null) throw new Error(`${front} has no ${mac === null ? 'mac' : 'ip'}`);
  const prefix = parseNumber(await xenstore.read(`${front}/prefix`));
  const gateway = await xenstore.read(`${front}/gateway`);
  return { mac, ip, prefix: prefix === null || prefix > 32 ? NETWORK_PREFIX : prefix, gateway };
}
