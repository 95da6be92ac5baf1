/** One connection of a vif, from the frontend's Connected to Closed: all that it takes, and all given back in reverse. */
import {
  BackRing,
  CTRL_SLOT_BYTES,
  RX_SLOT_BYTES,
  TX_SLOT_BYTES,
  CTRL_RING_SIZE,
  RX_RING_SIZE,
  TX_RING_SIZE,
} from '@grantline/xen';
import { NETBACK_COUNTERS, type Reading } from '@grantline/observe';
import { UndoStack, type DomId, type Gref, type Factors } from '@grantline/base';
import { slots, type CounterBlock } from '@grantline/machine';
import { CtrlBack } from '../data/ctrl-back.js';
import type { NetbackBridgeRx } from '../data/rx/netback-bridge-rx.js';
import type { NetbackNicRx } from '../data/rx/netback-nic-rx.js';
import { GrantPool } from '../data/grants/grant-pool.js';
import type { NetbackTx } from '../data/tx/netback-tx.js';
import type { TxCredit, TxPolicy } from '../data/tx/tx-policy.js';
import type { TxPort } from '../data/tx/tx-port.js';
import type { Channel, Host } from './host.js';
import { PoolControl } from './pool-control.js';
import { makeBridgeRx, makeNicRx, makeTxPort, makeTxSides, runPoller } from './vif-queues.js';
import type { FrontKeys } from './vif-keys.js';

const C = slots(NETBACK_COUNTERS);
const QUEUES = ['nic', 'bridge'] as const;
const DIRECTIONS = ['tx', 'rx'] as const;
type Place = `${(typeof QUEUES)[number]} ${(typeof DIRECTIONS)[number]}`;

/** The shared rings of a connected vif, for metrics: how large they are and how many requests wait. */
export class VifRings {
  private readonly rings = new Map<Place, BackRing>();

  /** From now on the ring is read when somebody asks. */
  add(queue: (typeof QUEUES)[number], direction: (typeof DIRECTIONS)[number], ring: BackRing): void {
    this.rings.set(`${queue} ${direction}`, ring);
  }

  /** To be called before a ring's page is unmapped. */
  clear(): void {
    this.rings.clear();
  }

  /** Requests of a ring that have no response yet; 0 where there is no such ring. */
  waiting(place: Place): number {
    const ring = this.rings.get(place);
    if (ring === undefined) return 0;
    const { reqProd, rspProdPvt } = ring.describe();
    const n = (reqProd - rspProdPvt) >>> 0;
    // The guest may write any index; what cannot be is not shown.
    return n > ring.size ? 0 : n;
  }

  size(place: Place): number {
    return this.rings.get(place)?.size ?? 0;
  }
}

/** Every ring that a vif can have, with 0 for those that it has not.
 *  @param rings null: the vif is not connected */
export function ringReadings(vif: string, rings: VifRings | null): Reading[] {
  return QUEUES.flatMap((queue) =>
    DIRECTIONS.flatMap((direction): Reading[] => {
      const labels = { vif, queue, direction };
      const place: Place = `${queue} ${direction}`;
      return [
        { family: 'grantline_ring_slots', labels, value: rings?.size(place) ?? 0 },
        { family: 'grantline_ring_slots_used', labels, value: rings?.waiting(place) ?? 0 },
      ];
    }),
  );
}

interface ConnectionOptions {
  guest: DomId;
  /** The vif's port of the bridge. */
  bridgePort: number;
  factors: Factors;
  /** The guest's address. */
  mac: string;
  keys: FrontKeys;
  counters: CounterBlock;
  txCounters: CounterBlock;
  /** How much the vif may send, and what. */
  credit: TxCredit;
  policy: TxPolicy;
  /** The data path found what cannot be; called at most once for each queue, from inside a poll. */
  onFault: (reason: string) => void;
  /** A part of it threw, a fault of ours; may be called more than once, from inside a poll or not. */
  onError: (err: unknown) => void;
  /** A NIC queue of its own gave up, by no fault of the guest's; may be called more than once. */
  onLost: (reason: string) => void;
}

/** True when the NIC has a queue for the guest, driven by netback: the vif has a second queue for strays then. */
export const hasOwnQueue = (f: Factors): boolean => f.path === 'split' && f.nicQueues === 'per-guest';

export class BackConnection {
  nicRx: NetbackNicRx | null = null;
  bridgeRx: NetbackBridgeRx | null = null;
  /** By queue of the frontend. */
  readonly tx: NetbackTx[] = [];
  readonly pool = new GrantPool();
  /** Those that are mapped. */
  readonly rings = new VifRings();
  readonly sendPool = new GrantPool();
  /** From the first step of the disconnect on. */
  closing = false;
  private ctrl: CtrlBack | null = null;
  private ownPort: TxPort | null = null;
  private readonly host: Host;
  private readonly o: ConnectionOptions;
  private readonly undo = new UndoStack();

  constructor(host: Host, options: ConnectionOptions) {
    this.host = host;
    this.o = options;
  }

  /** Takes everything; on failure all is given back. @throws Error telling what was wrong */
  async open(): Promise<void> {
    try {
      await this.build();
    } catch (err) {
      await this.close();
      throw err;
    }
  }

  /** Gives everything back. Pollers stop at once; the rest waits for the NIC and for replies that are due. */
  async close(): Promise<void> {
    this.closing = true;
    const failures = [this.nicRx, this.bridgeRx, ...this.tx].flatMap((part) => failureOf(() => part?.stop()));
    // The rings are unmapped on the way: whoever asks for the state meanwhile must not read them.
    this.nicRx = this.bridgeRx = this.ctrl = null;
    for (const err of [...failures, ...(await this.undo.run())])
      this.host.log.warn({ err, guest: this.o.guest }, 'a step of the disconnect failed');
  }

  /** The NIC is gone, and the vif's own transmit queue with it: what it had is lost, and answered. */
  nicGone(): void {
    this.ownPort?.down();
  }

  /** What waits for credit looks again. */
  rateChanged(): void {
    for (const tx of this.tx) if (!tx.stopped) this.host.loop.schedule(tx);
  }

  /** Queues of a guest that takes nothing are emptied. @returns true while frames wait for it: then it is called several times a
   *  second, else once */
  tick(nowNs: number): boolean {
    this.ownPort?.look(nowNs);
    return this.bridgeRx?.tick(nowNs) ?? false;
  }

  describe(): Record<string, unknown> {
    return {
      factors: this.o.factors,
      keys: this.o.keys,
      nicQueue: this.nicRx?.describe() ?? null,
      bridgeQueue: this.bridgeRx?.describe() ?? null,
      transmit: this.tx.map((tx) => tx.describe()),
      pool: { grants: this.pool.count, room: this.pool.room, sendGrants: this.sendPool.count },
      control: this.ctrl?.describe() ?? null,
    };
  }

  private async build(): Promise<void> {
    const { factors, keys, bridgePort, counters, guest, onError, onLost } = this.o;
    const { bridge } = this.host;
    const hasNicQueue = hasOwnQueue(factors);
    // Before anything is taken: it may be long until there is a NIC, and the guest may die meanwhile.
    const uplink = hasNicQueue ? null : await this.host.uplink.ready();
    const rings: BackRing[] = [];
    const txRings: BackRing[] = [];
    for (const [i, q] of keys.queues.entries()) {
      const queue = hasNicQueue && i === 0 ? 'nic' : 'bridge';
      const tx = await this.mapRing(q.tx, TX_RING_SIZE, TX_SLOT_BYTES);
      this.rings.add(queue, 'tx', tx);
      txRings.push(tx);
      const rx = await this.mapRing(q.rx, RX_RING_SIZE, RX_SLOT_BYTES);
      this.rings.add(queue, 'rx', rx);
      rings.push(rx);
    }
    const ctrlRing = keys.ctrl === null ? null : await this.mapRing(keys.ctrl.ring, CTRL_RING_SIZE, CTRL_SLOT_BYTES);
    const ports: Channel[] = [];
    for (const q of keys.queues) ports.push(await this.bind(q.port));

    const use = hasNicQueue ? 'nic' : 'copy';
    const poolControl = new PoolControl(this.host, guest, this.pool, use, counters, this.sendPool);
    this.undo.push(() => poolControl.close());
    const bridgeFed = hasNicQueue ? 1 : 0;
    const rx = { guest, factors, keys, mac: this.o.mac, counters, onFault: this.o.onFault, onError, onLost };
    if (hasNicQueue) this.nicRx = await makeNicRx(this.host, this.undo, rings[0], ports[0], this.pool, rx);
    const bridgePool = hasNicQueue ? null : this.pool;
    this.bridgeRx = makeBridgeRx(this.host, this.undo, rings[bridgeFed], ports[bridgeFed], bridgePool, rx);
    if (ctrlRing !== null && factors.grants === 'reuse') await this.buildCtrl(ctrlRing, poolControl);
    const { policy, credit, txCounters, onFault } = this.o;
    const side = {
      ...{ guest, bridgePort, policy, credit, onFault, onError },
      ownQueue: hasNicQueue,
      pool: this.sendPool,
    };
    const tx = { ...side, counters: txCounters };
    const port = uplink ?? (this.ownPort = await makeTxPort(this.host, this.undo, guest, onError, onLost));
    this.tx.push(
      ...(await makeTxSides(
        this.host,
        this.undo,
        { txRings, rxRings: rings, ports },
        (i) => this.receiverOf(i),
        port,
        tx,
      )),
    );
    bridge.attach(bridgePort, this.bridgeRx);
    this.undo.push(() => bridge.detach(bridgePort));
  }

  /** What serves the receive ring of a queue. */
  private receiverOf(queue: number): NetbackNicRx | NetbackBridgeRx {
    return queue === 0 && this.nicRx !== null ? this.nicRx : this.bridgeRx!;
  }

  private async buildCtrl(ring: BackRing, poolControl: PoolControl): Promise<void> {
    const { host, undo } = this;
    const channel = await this.bind(this.o.keys.ctrl!.port);
    const { counters, onFault, onError } = this.o;
    const ctrl: CtrlBack = new CtrlBack({
      ...{ mem: host.mem, ring, guest: channel, loop: host.loop, counters, onFault, onError },
      handle: (request) =>
        void poolControl
          .handle(request)
          .then(({ status, data }) => ctrl.answer(status, data))
          .catch((err: unknown) => ctrl.failed(err)),
    });
    this.ctrl = ctrl;
    undo.push(() => ctrl.stop());
    runPoller(host, undo, ctrl, () => ring.seen, channel);
  }

  private async mapRing(gref: Gref, size: number, slotBytes: number): Promise<BackRing> {
    const { window, client, mem } = this.host;
    const { counters } = this.o;
    const mapped = await window.mapGrant(client, this.o.guest, gref);
    this.undo.push(async () => {
      this.rings.clear();
      counters.v[C.unmapOps]++;
      counters.v[C.hypercalls]++;
      counters.commit();
      await window.unmapGrant(client, mapped);
    });
    counters.v[C.mapOps]++;
    counters.v[C.hypercalls]++;
    counters.commit();
    return new BackRing(mem, mapped.offset, size, slotBytes);
  }

  private async bind(port: FrontKeys['queues'][number]['port']): Promise<Channel> {
    const channel = await this.host.channels.bindInterdomain(this.o.guest, port);
    this.undo.push(() => channel.close());
    return channel;
  }
}

/** A step that must not keep the others from running. @returns what it threw */
function failureOf(step: () => void): unknown[] {
  try {
    step();
    return [];
  } catch (err) {
    return [err];
  }
}
