/** One vif: the backend's half of the handshake (shared/xen/src/xenbus/backend.ts), and what it connects. */
import { type DomId, nowNs, type Factors } from '@grantline/base';
import { VIF_DEV, XENBUS_NAMES, backendPath, frontendPath, vifName, XenbusBackend, messageOf } from '@grantline/xen';
import { slots, type CounterBlock } from '@grantline/machine';
import { NETBACK_COUNTERS, NETBACK_TX_COUNTERS, type Reading } from '@grantline/observe';
import type { SourceRule } from '@grantline/frames';
import { TxCredit, TxPolicy } from '../data/tx/tx-policy.js';
import type { Host } from './host.js';
import { Healer } from './healer.js';
import { BackConnection, hasOwnQueue, ringReadings } from './back-connection.js';
import { MAX_VIF_QUEUES, readFrontKeys } from './vif-keys.js';

const C = slots(NETBACK_COUNTERS);
const FEATURES = {
  'feature-rx-copy': 1,
  'feature-sg': 1,
  'feature-gso-tcpv4': 1,
  'feature-rx-offset': 1,
  'feature-ctrl-ring': 1,
  'multi-queue-max-queues': MAX_VIF_QUEUES,
};

/** Whether the driver domain itself receives; asked before each step that depends on it. */
export interface NativeGate {
  /** This vif's configuration is `native`, or is not. @returns true when native receive runs, or has stopped, as wanted */
  settle(vif: string, native: boolean, lro: boolean, tso?: boolean): Promise<boolean>;
}

export class BackVif {
  readonly guest: DomId;
  readonly name: string;
  connection: BackConnection | null = null;
  private readonly host: Host;
  private readonly bridgePort: number;
  private readonly counters: CounterBlock;
  private readonly txCounters: CounterBlock;
  private readonly credit = new TxCredit();
  private readonly back: string;
  private readonly front: string;
  private readonly bus: XenbusBackend;
  private readonly healer: Healer;
  private failedOnce: BackConnection | null = null;
  /** What the vif may send; made when it first connects, so that connecting again wins nothing. */
  private policy: TxPolicy | null = null;
  private source: SourceRule | null = null;
  private nested = false;
  private readonly unwatch: (() => Promise<void>)[] = [];

  constructor(host: Host, native: NativeGate, guest: DomId, bridgePort: number) {
    this.host = host;
    this.guest = guest;
    this.bridgePort = bridgePort;
    this.name = vifName(guest, VIF_DEV);
    this.back = backendPath(host.domid, guest, VIF_DEV);
    this.front = frontendPath(guest, VIF_DEV);
    this.counters = host.counters.block(NETBACK_COUNTERS, { vif: this.name });
    this.txCounters = host.counters.block(NETBACK_TX_COUNTERS, { vif: this.name });
    this.healer = new Healer({
      name: this.name,
      renew: () => this.bus.renew(),
      ...{ counters: host.driver, log: host.log },
    });
    this.bus = new XenbusBackend({
      store: host.xenstore,
      back: this.back,
      front: this.front,
      features: FEATURES,
      // Microseconds since the machine started: a dead driver domain made no offer with such a number.
      firstOffer: Math.floor(nowNs() / 1000),
      hooks: {
        mayOffer: (factors) => native.settle(this.name, factors.path === 'native', factors.lro, factors.tso),
        connect: (factors) => this.connect(factors),
        disconnect: () => this.disconnect(),
      },
      log: { warn: (what, text) => host.log.warn({ vif: this.name, ...what }, text) },
    });
  }

  /** The vif's directory is gone, and everything of it released. */
  get gone(): boolean {
    return this.bus.gone;
  }

  /** Follows the frontend's state from now on. */
  async begin(): Promise<void> {
    const { xenstore } = this.host;
    this.unwatch.push(
      await xenstore.watch(`${this.front}/state`, () => void this.look()),
      await xenstore.watch(`${this.back}/rate`, () => void this.readRate()),
      await xenstore.watch(`${this.back}/nested`, () => void this.readNested()),
    );
  }

  /** Something changed. @returns when all is looked at */
  look(): Promise<void> {
    return this.bus.look();
  }

  /** The NIC is gone. A vif with queues of its own on it, netback's or the guest's, connects again: with new ones, as soon as
   *  there is a NIC. One that is fed by the bridge stays as it is. */
  nicGone(): void {
    this.healer.forget();
    this.guard(() => this.connection?.nicGone());
    const { factors } = this.bus;
    if (factors !== null && (hasOwnQueue(factors) || factors.path === 'direct')) this.bus.renew();
  }

  /** Time passes. @returns true while frames wait for the guest: then it is called several times a second, else once */
  tick(nowNs: number): boolean {
    let waiting = false;
    this.guard(() => (waiting = this.connection?.tick(nowNs) ?? false));
    return waiting;
  }

  /** The guest died, or the service ends: releases all, and steps no more. */
  async end(): Promise<void> {
    for (const unwatch of this.unwatch.splice(0)) await unwatch().catch(() => undefined);
    await this.bus.end();
    if (this.source !== null) this.host.bridge.given.remove(this.source);
    this.source = this.policy = null;
  }

  /** Levels of its rings and its pool, for metrics. */
  readings(): Reading[] {
    const { name, connection } = this;
    const pool = connection?.pool.count ?? 0;
    return [
      ...ringReadings(name, connection?.rings ?? null),
      { family: 'grantline_pool_grants', labels: { vif: name }, value: pool },
    ];
  }

  describe(): Record<string, unknown> {
    const { name, guest, bridgePort } = this;
    const { state, error, generation, acknowledged, factors } = this.bus;
    const connection = this.connection?.describe() ?? null;
    return {
      name,
      guest,
      bridgePort,
      state: XENBUS_NAMES[state],
      error,
      generation,
      acknowledged,
      factors,
      connection,
    };
  }

  private async connect(factors: Factors): Promise<void> {
    const { host, guest, bridgePort, counters } = this;
    const { xenstore } = host;
    const mac = (await xenstore.read(`${this.back}/mac`)) ?? '';
    const policy = (this.policy ??= await this.makePolicy(mac));
    const keys = await readFrontKeys((key) => xenstore.read(`${this.front}/${key}`), hasOwnQueue(factors) ? 2 : 1);
    const connection: BackConnection = new BackConnection(host, {
      ...{ guest, bridgePort, factors, mac, keys, counters, txCounters: this.txCounters, credit: this.credit, policy },
      onFault: (reason) => this.faulted(connection, reason),
      onError: (err) => this.failed(err, connection),
      onLost: (reason) => this.lost(connection, reason),
    });
    this.connection = connection;
    await connection.open();
    host.log.info({ vif: this.name, ...factors }, 'vif connected');
  }

  /** The toolstack's node `rate`, "bytes,usec"; the guest cannot write it. */
  private async readRate(): Promise<void> {
    const text = await this.host.xenstore.read(`${this.back}/rate`).catch(() => null);
    this.guard(() => {
      if (!this.credit.set(text))
        this.host.log.warn({ vif: this.name, rate: text }, 'rate is not "bytes,usec": no limit');
      this.connection?.rateChanged();
    });
  }

  private async makePolicy(mac: string): Promise<TxPolicy> {
    const { host } = this;
    const ip = await host.xenstore.read(`${this.back}/ip`);
    if (mac !== '') {
      this.source = host.bridge.given.add(mac, ip);
      this.source.nested = this.nested;
    }
    return new TxPolicy(host.mem, host.bridge, this.bridgePort, this.source);
  }

  /** The toolstack's node `nested`, 1: other stations stand behind the guest. */
  private async readNested(): Promise<void> {
    this.nested = (await this.host.xenstore.read(`${this.back}/nested`).catch(() => null)) === '1';
    if (this.source !== null) this.source.nested = this.nested;
  }

  private async disconnect(): Promise<void> {
    // Whatever was to be made anew is given up here.
    this.healer.forget();
    await this.connection?.close();
    this.connection = null;
  }

  /** Does a step of this vif's: what it throws disables this vif, and neither the others nor the service. */
  private guard(step: () => void): void {
    try {
      step();
    } catch (err) {
      this.failed(err);
    }
  }

  /** A fault of ours in the work of this vif, found in the connection that there is. Disables the vif, as a fault of the guest's
   *  does: its state cannot be relied on. Told once for each connection. */
  private failed(err: unknown, connection = this.connection): void {
    this.counters.v[C.exceptions]++;
    this.counters.commit();
    if (connection === null || this.connection !== connection || this.failedOnce === connection) return;
    this.failedOnce = connection;
    this.host.log.error({ err, vif: this.name }, 'an exception in the work of a vif');
    this.bus.faulted(`internal error: ${messageOf(err)}`);
  }

  /** A queue of the vif's own on the NIC gave up: the vif connects again, with new ones. */
  private lost(connection: BackConnection, reason: string): void {
    if (this.connection === connection && !connection.closing) this.healer.broken(reason);
  }

  /** From inside a poll. */
  private faulted(connection: BackConnection, reason: string): void {
    if (this.connection === connection) this.bus.faulted(reason);
  }
}
