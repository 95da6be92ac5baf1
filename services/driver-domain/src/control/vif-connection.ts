/** One connection of a vif, from the frontend's Connected to Closed: all that it takes, and all given back in reverse. */
import { CTRL_SLOT_BYTES, RX_SLOT_BYTES, TX_SLOT_BYTES } from '@grantline/shared/abi/netif.js';
import { PAGE_SIZE, type DomId, type Gref } from '@grantline/shared/abi/page.js';
import { CTRL_RING_SIZE, RX_RING_SIZE, TX_RING_SIZE } from '@grantline/shared/abi/ring.js';
import type { Factors } from '@grantline/shared/config/factors.js';
import { slots, type CounterBlock } from '@grantline/shared/counters/block.js';
import { NETBACK_COUNTERS } from '@grantline/shared/counters/names.js';
import { BackRing } from '@grantline/shared/ring/back-ring.js';
import { CtrlBack } from '../data/ctrl-back.js';
import { NetbackBridgeRx } from '../data/netback-bridge-rx.js';
import { NetbackNicRx } from '../data/netback-nic-rx.js';
import { GrantPool } from '../data/pool.js';
import type { NetbackTx } from '../data/netback-tx.js';
import { RxSlots } from '../data/rx-slots.js';
import type { TxCredit } from '../data/tx-credit.js';
import type { TxPort } from '../data/tx-port.js';
import { grantCalls } from './grant-calls.js';
import { pause, type Channel, type Host } from './host.js';
import { makeNicQueue } from './nic-queue.js';
import { makeTxPort, makeTxSides } from './tx-side.js';
import { unpinRest } from './unpin-rest.js';
import { PoolControl } from './pool-control.js';
import { UndoStack } from '@grantline/shared/service/undo-stack.js';
import type { FrontKeys } from './vif-keys.js';
import { VifRings } from './vif-rings.js';

const C = slots(NETBACK_COUNTERS);

export interface ConnectionOptions {
  guest: DomId;
  /** The vif's port of the bridge. */
  bridgePort: number;
  factors: Factors;
  /** The guest's address. */
  mac: string;
  keys: FrontKeys;
  counters: CounterBlock;
  txCounters: CounterBlock;
  /** What the vif may send. */
  credit: TxCredit;
  /** The data path found what cannot be; called at most once for each queue, from inside a poll. */
  onFault: (reason: string) => void;
}

/** True when the NIC has a queue for the guest, driven by netback: the vif has a second queue for strays then. */
export const hasOwnQueue = (f: Factors): boolean => f.path === 'split' && f.nicQueues === 'per-guest';

export class VifConnection {
  nicRx: NetbackNicRx | null = null;
  bridgeRx: NetbackBridgeRx | null = null;
  /** By queue of the frontend. */
  readonly tx: NetbackTx[] = [];
  readonly pool = new GrantPool();
  /** Those that are mapped. */
  readonly rings = new VifRings();
  readonly sendPool = new GrantPool();
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
    this.nicRx?.stop();
    this.bridgeRx?.stop();
    for (const tx of this.tx) tx.stop();
    // The rings are unmapped on the way: whoever asks for the state meanwhile must not read them.
    this.nicRx = this.bridgeRx = this.ctrl = null;
    for (const err of await this.undo.run())
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

  /** About once a second: queues of a guest that takes nothing are emptied. */
  tick(nowNs: number): void {
    this.bridgeRx?.tick(nowNs);
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
    const { factors, keys, bridgePort, counters, guest } = this.o;
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
    if (hasNicQueue) await this.buildNicRx(rings[0], ports[0]);
    this.buildBridgeRx(rings[bridgeFed], ports[bridgeFed], hasNicQueue);
    if (ctrlRing !== null && factors.grants === 'reuse') await this.buildCtrl(ctrlRing, poolControl);
    const { mac, credit, txCounters, onFault } = this.o;
    const side = { ...{ guest, bridgePort, mac, credit, onFault }, ownQueue: hasNicQueue, pool: this.sendPool };
    const tx = { ...side, counters: txCounters };
    const port = uplink ?? (this.ownPort = await makeTxPort(this.host, this.undo, guest));
    this.tx.push(...(await makeTxSides(this.host, this.undo, txRings, ports, (i) => this.receiverOf(i), port, tx)));
    bridge.attach(bridgePort, this.bridgeRx!);
    this.undo.push(() => bridge.detach(bridgePort));
  }

  /** What serves the receive ring of a queue. */
  private receiverOf(queue: number): NetbackNicRx | NetbackBridgeRx {
    return queue === 0 && this.nicRx !== null ? this.nicRx : this.bridgeRx!;
  }

  private async buildNicRx(ring: BackRing, guestPort: Channel): Promise<void> {
    const { host, undo, pool } = this;
    const { guest, factors, keys, counters, onFault } = this.o;
    // The queue first: its undo comes last, when nothing of the guest is on it any more.
    const q = await makeNicQueue(host, undo);
    const rx = new NetbackNicRx({
      mem: host.mem,
      slots: new RxSlots(host.mem, ring, keys.usesOffset ? factors.bufferBytes : PAGE_SIZE, keys.usesOffset),
      queue: q.queue,
      pool,
      calls: grantCalls(host.client, host.domid, guest),
      guest: guestPort,
      nic: q.nic,
      counters,
      meter: host.meter,
      loop: host.loop,
      onFault,
    });
    if (host.tapOf) rx.tap = host.tapOf(guest);
    pool.addUser(rx);
    this.nicRx = rx;
    undo.push(() => unpinRest(host, rx, counters));
    await q.attach(guest, this.o.mac);
    undo.push(() => rx.stop());
    this.run(rx, guestPort, q.nic);
  }

  private buildBridgeRx(ring: BackRing, guestPort: Channel, isSecond: boolean): void {
    const { host, undo, pool } = this;
    const { guest, factors, keys, counters, onFault } = this.o;
    // A second queue, and the only one of `direct`, is for strays: full pages, copied by grant.
    const small = !isSecond && factors.path === 'split' && keys.usesOffset;
    const rx = new NetbackBridgeRx({
      mem: host.mem,
      slots: new RxSlots(host.mem, ring, small ? factors.bufferBytes : PAGE_SIZE, small),
      buffers: host.buffers,
      pool: isSecond ? new GrantPool() : pool,
      calls: grantCalls(host.client, host.domid, guest),
      guest: guestPort,
      counters,
      meter: host.meter,
      loop: host.loop,
      refill: host.refill,
      gso: keys.takesGso,
      onFault,
    });
    if (host.tapOf) rx.tap.tap = host.tapOf(guest);
    if (!isSecond) pool.addUser(rx);
    this.bridgeRx = rx;
    undo.push(async () => {
      while (rx.copies.inFlight > 0 && !host.client.closed) await pause(1);
    });
    undo.push(() => rx.stop());
    this.run(rx, guestPort);
  }

  private async buildCtrl(ring: BackRing, poolControl: PoolControl): Promise<void> {
    const { host, undo } = this;
    const channel = await this.bind(this.o.keys.ctrl!.port);
    const ctrl: CtrlBack = new CtrlBack({
      mem: host.mem,
      ring,
      guest: channel,
      loop: host.loop,
      handle: (request) => void poolControl.handle(request).then(({ status, data }) => ctrl.answer(status, data)),
      onFault: (reason) => {
        this.o.counters.v[C.ringFaults]++;
        this.o.counters.commit();
        this.o.onFault(reason);
      },
    });
    this.ctrl = ctrl;
    undo.push(() => (ctrl.stopped = true));
    this.run(ctrl, channel);
  }

  /** From now on the poller runs, and does so whenever one of the channels says so. */
  private run(poller: NetbackNicRx | NetbackBridgeRx | CtrlBack, ...channels: Channel[]): void {
    const { loop } = this.host;
    loop.add(poller);
    this.undo.push(() => loop.remove(poller));
    for (const channel of channels) {
      channel.onEvent(() => loop.schedule(poller));
      this.undo.push(() => channel.onEvent(() => {}));
    }
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
