/** One connection of a vif, from InitWait to Closed: everything that it takes, and everything given back. */
import { PAGE_SIZE, type DomId, type Factors, UndoStack } from '@grantline/base';
import type { XenstoreOp } from '@grantline/xen';
import { slots } from '@grantline/machine';
import { NETFRONT_COUNTERS } from '@grantline/observe';
import { CtrlFront } from '../data/ctrl-front.js';
import type { NicSender } from '@grantline/measure';
import type { DirectRx } from '../data/direct-rx.js';
import { PoolClient } from '../data/pool-client.js';
import { makeDirectQueue, makeDirectSender } from './direct-queue.js';
import { makeRxQueue, sharePage, type RxQueue, makeTxQueue, registerTxGrants, type TxQueue } from './vif-queues.js';
import type { Channel, VifHost } from './vif-host.js';

const C = slots(NETFRONT_COUNTERS);

/** Receive buffers of a queue that carries the guest's traffic, and of one that only carries what comes over the bridge. */
export const BUFFERS = 512;
export const BRIDGE_BUFFERS = 128;

/** Frontend keys that a connection writes; those of an earlier one must not stay. */
const QUEUE_KEYS = ['tx-ring-ref', 'rx-ring-ref', 'event-channel'];
export const CONNECTION_KEYS = [...QUEUE_KEYS, 'queue-0', 'queue-1', 'ctrl-ring-ref', 'event-channel-ctrl', 'error'];

export class FrontConnection {
  readonly factors: Factors;
  readonly queues: RxQueue[] = [];
  direct: DirectRx | null = null;
  /** What the guest sends through: queue 0's tx ring, or in `direct` a NIC queue of its own. */
  tx: TxQueue | null = null;
  directTx: NicSender | null = null;
  /** The grant pool of queue 0; null when grants are not reused. */
  pool: PoolClient | null = null;
  private readonly host: VifHost;
  private readonly backend: DomId;
  private readonly undo = new UndoStack();
  private ctrl: { ref: number; channel: Channel; front: CtrlFront } | null = null;
  /** `start` was called. */
  started = false;
  /** From `start` to `stop`. */
  running = false;
  private readonly generation: number;

  constructor(host: VifHost, backend: DomId, generation: number, factors: Factors) {
    this.host = host;
    this.backend = backend;
    this.generation = generation;
    this.factors = factors;
  }

  /** Allocates and grants everything. On failure all of it is given back.
   *  @param mac own address, for `direct`
   *  @param onFault called once when a peer did something impossible
   *  @throws Error telling what was missing */
  async open(mac: string, onFault: (reason: string) => void): Promise<void> {
    try {
      await this.counted(() => this.build(mac, onFault));
    } catch (error) {
      await this.close();
      throw error;
    }
  }

  /** The keys for netback, after `open`. @param front the frontend directory */
  keys(front: string): XenstoreOp[] {
    const ops: XenstoreOp[] = [];
    const write = (key: string, value: number): void =>
      void ops.push({ op: 'write', path: `${front}/${key}`, value: String(value) });
    write('request-rx-copy', 1);
    write('feature-rx-notify', 1);
    write('feature-rx-offset', this.factors.bufferBytes < PAGE_SIZE ? 1 : 0);
    // A guest that takes large packets takes those of other guests as they were sent.
    write('feature-gso-tcpv4', this.factors.lro ? 1 : 0);
    write('multi-queue-num-queues', this.queues.length);
    this.queues.forEach((q, i) => {
      const dir = this.queues.length > 1 ? `queue-${i}/` : '';
      write(`${dir}tx-ring-ref`, q.txRef);
      write(`${dir}rx-ring-ref`, q.rxRef);
      write(`${dir}event-channel`, q.channel.port);
    });
    if (this.ctrl !== null) {
      write('ctrl-ring-ref', this.ctrl.ref);
      write('event-channel-ctrl', this.ctrl.channel.port);
    }
    return ops;
  }

  /** Netback is connected: registers the pool, then posts buffers. Before the pool stands nothing is posted, so that
   *  no frame needs a grant operation only because it came early. */
  async start(): Promise<void> {
    if (this.started) return;
    this.started = this.running = true;
    if (this.pool !== null) {
      const { error, done } = await this.pool.setUp();
      if (error !== null) this.host.log.warn({ error, done }, 'the grants are not pooled: netback maps for each frame');
    }
    await this.registerTx();
    if (!this.running) return;
    for (const q of this.queues) {
      q.rx.refill();
      this.host.loop.schedule(q.rx);
    }
    const device = this.directTx ?? this.tx?.tx ?? null;
    this.host.sender.attach(device, this.factors.tso);
  }

  /** Pollers stop, nothing is given back yet. */
  stop(): void {
    this.running = false;
    this.pool?.close();
    this.host.sender.attach(null, false);
    for (const q of this.queues) this.host.loop.remove(q.rx);
    if (this.direct !== null) this.host.loop.remove(this.direct);
  }

  /** Gives everything back, last taken first. What netback did not let go of is quarantined and counted. */
  async close(): Promise<void> {
    let failures: unknown[] = [];
    await this.counted(async () => {
      const undo = new UndoStack();
      undo.push(() => this.stop());
      failures = [...(await undo.run()), ...(await this.undo.run())];
    });
    this.host.netfront.v[C.poolGrants] = 0;
    this.host.netfront.commit();
    for (const err of failures) this.host.log.warn({ err }, 'a step of the disconnect failed');
  }

  describe(): Record<string, unknown> {
    return {
      generation: this.generation,
      factors: this.factors,
      running: this.running,
      queues: this.queues.map((q) => ({
        txRef: q.txRef,
        rxRef: q.rxRef,
        port: q.channel.port,
        tx: q.txRing.describe(),
        rx: q.rx.describe(),
      })),
      direct: this.direct?.describe() ?? null,
      transmit: (this.directTx ?? this.tx?.tx)?.describe() ?? null,
      pool: this.pool?.describe() ?? null,
    };
  }

  private async build(mac: string, onFault: (reason: string) => void): Promise<void> {
    const { host, undo, factors, backend } = this;
    const { batching, bufferBytes, path } = factors;
    const reuseGrants = factors.grants === 'reuse';
    const sink = host.sink(factors.lro);
    const common = { backend, reuseGrants, batching, gso: factors.lro, sink, onFault };
    const main = { ...common, buffers: BUFFERS, bufferBytes };
    const bridge = { ...common, buffers: BRIDGE_BUFFERS, bufferBytes: PAGE_SIZE };
    const own = { mac, lro: factors.lro };
    if (path === 'direct')
      this.direct = await makeDirectQueue(host, undo, {
        ...own,
        buffers: BUFFERS,
        bufferBytes,
        batching,
        sink,
        onFault,
      });
    else this.queues.push(await makeRxQueue(host, undo, main));
    if (path === 'direct' || factors.nicQueues === 'per-guest') this.queues.push(await makeRxQueue(host, undo, bridge));
    if (reuseGrants) await this.buildPool(this.queues[0]);
    await this.buildTx(onFault);
  }

  private async buildTx(onFault: (reason: string) => void): Promise<void> {
    const { host, undo, factors, backend } = this;
    const halves = factors.bufferBytes < PAGE_SIZE;
    if (factors.path === 'direct') {
      this.directTx = await makeDirectSender(host, undo, { halves, onFault });
      return;
    }
    const queue = this.queues[0];
    this.tx = makeTxQueue(host, undo, { backend, queue, halves, reuseGrants: factors.grants === 'reuse', onFault });
    queue.channel.onEvent(() => {
      host.loop.schedule(queue.rx);
      host.loop.schedule(host.sender);
    }, queue.published);
  }

  /** The transmit buffers' grants shall stand, where grants are reused. */
  private async registerTx(): Promise<void> {
    const { host, undo, ctrl, tx, backend } = this;
    if (ctrl === null || tx === null || !this.running) return;
    const error = await registerTxGrants(host, undo, ctrl.front, backend, tx);
    if (error !== null) host.log.warn({ error }, 'transmit grants are not pooled: netback maps for each packet');
  }

  private async buildPool(queue: RxQueue): Promise<void> {
    const { host, undo } = this;
    const ring = sharePage(host, undo, this.backend);
    const list = sharePage(host, undo, this.backend);
    const channel = await host.channels.allocUnbound(this.backend);
    undo.push(() => channel.close());
    const ctrl = new CtrlFront(host.mem, ring.offset, channel);
    channel.onEvent(() => host.loop.schedule(ctrl));
    host.loop.add(ctrl);
    undo.push(() => host.loop.remove(ctrl));
    this.ctrl = { ref: ring.gref, channel, front: ctrl };
    this.pool = new PoolClient({
      mem: host.mem,
      ctrl,
      queue: 0,
      buffers: queue.buffers,
      list: list.offset,
      listGref: list.gref,
      counters: host.netfront,
      after: host.after,
      onAdmitted: () => queue.rx.refill(),
    });
  }

  /** Counts the grants that `work` issues and revokes; those of the data path are counted there. */
  private async counted(work: () => Promise<void>): Promise<void> {
    const { grants, netfront } = this.host;
    const { issued, revoked } = grants;
    try {
      await work();
    } finally {
      netfront.v[C.grantsIssued] += grants.issued - issued;
      netfront.v[C.grantsRevoked] += grants.revoked - revoked;
      netfront.commit();
    }
  }
}
