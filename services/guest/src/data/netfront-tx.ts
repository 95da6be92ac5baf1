/** Netfront's transmit side of one queue. Source: Linux drivers/net/xen-netfront.c (xennet_start_xmit, xennet_tx_buf_gc).
 *  docs/wire/netif.md, docs/wire/transmit.md.
 *
 *  A packet is a chain of slots, one for each buffer; a slot's id is its buffer. Responses come in any order. Netback is not
 *  trusted: each response is copied once and judged; the first one that is impossible breaks the queue for good. */
import type { DomId, Gref, Pfn } from '@grantline/base';
import {
  NETFRONT_TX_SPARE,
  NETIF_RSP_DROPPED,
  NETIF_RSP_NULL,
  NETIF_RSP_OKAY,
  NETTXF_CSUM_BLANK,
  NETTXF_DATA_VALIDATED,
  NETTXF_EXTRA_INFO,
  NETTXF_MORE_DATA,
  XEN_NETIF_EXTRA_TYPE_GSO,
  XEN_NETIF_GSO_TYPE_TCPV4,
  extraHead,
  idxAdd,
  notifyIf,
  txRspId,
  txRspStatus,
  txWhat,
  txWhere,
  type GrantTable,
  type FrontRing,
} from '@grantline/xen';
import { NETFRONT_TX_COUNTERS } from '@grantline/observe';
import { slots, type CounterBlock, type Mem, type Notify } from '@grantline/machine';
import { ETH_MAX_PACKET } from '@grantline/frames';
import { BufferedDevice, type SendBuffers, type LendingTxDevice } from '@grantline/measure';

const C = slots(NETFRONT_TX_COUNTERS);
/** Packets between two pushes at most. */
const BATCH = 128;

/** What became of a packet when one of its buffers was answered: it waits for others, was sent, or failed. */
const WAITS = 0;
const SENT = 1;
const FAILED = 2;

const NETFRONT_TX_FAULTS = [
  'none',
  'tx: rsp_prod is ahead of the requests',
  'tx: response id names no buffer that is out',
  'tx: response status is none that there is',
  'tx: grant is still in use although answered',
] as const;

interface NetfrontTxOptions {
  mem: Mem;
  ring: FrontRing;
  buffers: SendBuffers;
  grants: TxGrants;
  /** True: each slot gets a grant that its response ends. False: grants stand as long as the buffers. */
  perFrameGrants: boolean;
  counters: CounterBlock;
  peer: Notify;
  /** Called once when netback did something impossible. */
  onFault: (reason: string) => void;
}

export class NetfrontTx extends BufferedDevice implements LendingTxDevice {
  readonly maxBytes = ETH_MAX_PACKET;
  fault = 0;
  private readonly o: NetfrontTxOptions;
  private readonly ring: FrontRing;
  private readonly chains: TxChains;
  // Staged packets: first buffer, total bytes, mss, and whether the checksum is to be filled in.
  private readonly first = new Int32Array(BATCH);
  private readonly total = new Int32Array(BATCH);
  private readonly mss = new Int32Array(BATCH);
  private readonly blank = new Uint8Array(BATCH);
  private staged = 0;
  private stagedSlots = 0;

  constructor(options: NetfrontTxOptions) {
    super(options.mem, options.buffers);
    this.o = options;
    this.ring = options.ring;
    this.chains = new TxChains(options.buffers.count);
  }

  room(bytes: number): boolean {
    return this.roomForLent() && this.buffers.canHold(bytes);
  }

  roomForLent(): boolean {
    return this.fault === 0 && this.staged < BATCH && this.ring.free() - this.stagedSlots >= NETFRONT_TX_SPARE;
  }

  stage(src: number, bytes: number, mss: number, csumStart = 0): number {
    const n = this.copyIn(src, bytes);
    this.staging(n, bytes, mss, csumStart);
    return n;
  }

  stageLent(ids: Int32Array, bytes: number, mss: number, csumStart: number): void {
    this.staging(this.takeLent(ids, bytes), bytes, mss, csumStart);
  }

  push(): void {
    const { counters, peer } = this.o;
    const v = counters.v;
    for (let i = 0; i < this.staged; i++) this.put(this.first[i], this.total[i], this.mss[i], this.blank[i]);
    v[C.packets] += this.staged;
    v[C.slots] += this.stagedSlots;
    this.staged = 0;
    this.stagedSlots = 0;
    notifyIf(this.ring.push(), peer, v, C.notifications, C.suppressed);
    counters.commit();
  }

  reclaim(): number {
    const { ring } = this;
    const n = this.fault === 0 ? ring.unconsumed() : 0;
    if (n === 0) return 0;
    const { counters, mem } = this.o;
    let packets = 0;
    if (n < 0) this.fault = 1;
    for (let i = 0; i < n && this.fault === 0; i++) {
      const word = mem.u32[ring.slot(ring.rspCons) >> 2];
      ring.rspCons = idxAdd(ring.rspCons, 1);
      // Extra-info slots have no id; netback fills them up with NULL.
      if (txRspStatus(word) !== NETIF_RSP_NULL) packets += this.answered(txRspId(word), txRspStatus(word));
    }
    counters.commit();
    if (this.fault !== 0) this.o.onFault(NETFRONT_TX_FAULTS[this.fault]);
    return packets;
  }

  arm(): boolean {
    if (this.fault !== 0) return false;
    const out = (this.ring.reqProdPvt - this.ring.rspCons) >>> 0;
    // Half of what is out, as Linux asks for: buffers are given back many at a time.
    return out > 0 && this.ring.arm((out >> 1) + 1) && this.ring.unconsumed() !== 0;
  }

  describe(): Record<string, unknown> {
    return { fault: NETFRONT_TX_FAULTS[this.fault], ring: this.ring.describe(), freeBuffers: this.o.buffers.free };
  }

  /** The packet of so many pieces goes with the next push. */
  private staging(slotCount: number, bytes: number, mss: number, csumStart: number): void {
    this.chains.begin();
    for (let i = 0; i < slotCount; i++) this.chains.add(this.ids[i], this.parts[i]);
    this.first[this.staged] = this.chains.end();
    this.total[this.staged] = bytes;
    this.mss[this.staged] = mss;
    this.blank[this.staged++] = mss > 0 || csumStart > 0 ? 1 : 0;
    this.stagedSlots += slotCount + (mss > 0 ? 1 : 0);
  }

  /** Writes a packet's requests: first slot, extra info, the other slots. */
  private put(head: number, total: number, mss: number, blank: number): void {
    const { ring } = this;
    const { mem, buffers, grants, perFrameGrants, counters } = this.o;
    const { next, bytes } = this.chains;
    const { u32 } = mem;
    let flags = NETTXF_DATA_VALIDATED | (blank !== 0 ? NETTXF_CSUM_BLANK : 0) | (mss > 0 ? NETTXF_EXTRA_INFO : 0);
    let size = total;
    for (let id = head; id >= 0; id = next[id]) {
      if (perFrameGrants) {
        grants.issue(id);
        counters.v[C.grantsIssued]++;
      }
      const at = ring.slot(ring.reqProdPvt) >> 2;
      const more = next[id] >= 0 ? NETTXF_MORE_DATA : 0;
      u32[at] = grants.gref[id];
      u32[at + 1] = txWhere(buffers.pageOffset[id], flags | more);
      u32[at + 2] = txWhat(id, size);
      ring.reqProdPvt = idxAdd(ring.reqProdPvt, 1);
      if ((flags & NETTXF_EXTRA_INFO) !== 0) {
        const extra = ring.slot(ring.reqProdPvt) >> 2;
        u32[extra] = extraHead(XEN_NETIF_EXTRA_TYPE_GSO, mss);
        u32[extra + 1] = XEN_NETIF_GSO_TYPE_TCPV4;
        ring.reqProdPvt = idxAdd(ring.reqProdPvt, 1);
      }
      flags = 0;
      const following = next[id];
      if (following >= 0) size = bytes[following];
    }
  }

  /** @returns 1 when that was the last response of a packet */
  private answered(id: number, status: number): number {
    const { buffers, grants, perFrameGrants, counters } = this.o;
    const { chains } = this;
    if (id >= buffers.count || chains.packet[id] < 0) return this.fail(2);
    if (status > NETIF_RSP_OKAY || status < NETIF_RSP_DROPPED) return this.fail(3);
    if (perFrameGrants) {
      if (!grants.end(id)) return this.fail(4);
      counters.v[C.grantsRevoked]++;
    }
    buffers.give(id);
    const outcome = chains.answered(id, status !== NETIF_RSP_OKAY);
    if (outcome === WAITS) return 0;
    counters.v[outcome === SENT ? C.sent : C.dropError]++;
    return 1;
  }

  private fail(fault: number): number {
    this.fault = fault;
    return 0;
  }
}

/** Transmit packets as chains of buffers, from their staging to the last response. A packet has a number of its own: its first
 *  buffer may be back, and out again, before its last. */
class TxChains {
  /** By buffer: number of its packet, or -1 when it is not out; the next one of the chain, or -1; bytes in it. */
  readonly packet: Int32Array;
  readonly next: Int32Array;
  readonly bytes: Int32Array;
  // By packet: slots that are not answered, and whether one of them failed.
  private readonly unanswered: Int32Array;
  private readonly failed: Uint8Array;
  private readonly free: Int32Array;
  private freeCount: number;
  /** The packet at hand: its number, first and last buffer, buffers. */
  private number = 0;
  private head = -1;
  private tail = -1;
  private slots = 0;

  /** @param buffers how many there are: there are as many numbers */
  constructor(buffers: number) {
    this.packet = new Int32Array(buffers).fill(-1);
    this.next = new Int32Array(buffers).fill(-1);
    this.bytes = new Int32Array(buffers);
    this.unanswered = new Int32Array(buffers);
    this.failed = new Uint8Array(buffers);
    this.free = Int32Array.from({ length: buffers }, (_, i) => i);
    this.freeCount = buffers;
  }

  begin(): void {
    this.number = this.free[--this.freeCount];
    this.head = this.tail = -1;
    this.slots = 0;
  }

  /** The next buffer of the packet that was begun. */
  add(id: number, bytes: number): void {
    this.bytes[id] = bytes;
    this.next[id] = -1;
    this.packet[id] = this.number;
    if (this.tail < 0) this.head = id;
    else this.next[this.tail] = id;
    this.tail = id;
    this.slots++;
  }

  /** The packet is whole. @returns its first buffer */
  end(): number {
    this.unanswered[this.number] = this.slots;
    this.failed[this.number] = 0;
    return this.head;
  }

  /** A buffer that is out is answered. @returns what became of its packet */
  answered(id: number, failed: boolean): typeof WAITS | typeof SENT | typeof FAILED {
    const packet = this.packet[id];
    this.packet[id] = -1;
    if (failed) this.failed[packet] = 1;
    if (--this.unanswered[packet] > 0) return WAITS;
    this.free[this.freeCount++] = packet;
    return this.failed[packet] === 0 ? SENT : FAILED;
  }
}

/** The grants of transmit buffers, by buffer: read-only, for netback and through it for the NIC. Two halves of a page have a
 *  grant each, so each can be ended alone. */
export class TxGrants {
  readonly gref: Int32Array;
  private readonly granted: Uint8Array;
  private readonly grants: GrantTable;
  private readonly peer: DomId;
  private readonly buffers: SendBuffers;
  private readonly pfns: readonly Pfn[];

  /** @param pfns the buffers' pages. @throws Error when there are not enough grant entries; then none is taken */
  constructor(grants: GrantTable, peer: DomId, buffers: SendBuffers, pfns: readonly Pfn[]) {
    if (grants.free < buffers.count) throw new Error(`no ${buffers.count} grant entries are free for transmit buffers`);
    this.grants = grants;
    this.peer = peer;
    this.buffers = buffers;
    this.pfns = pfns;
    this.granted = new Uint8Array(buffers.count);
    this.gref = Int32Array.from({ length: buffers.count }, () => grants.claim());
  }

  /** Lets the peer read the buffer's page. */
  issue(id: number): void {
    this.grants.grantAccess(this.gref[id] as Gref, this.peer, this.pfns[this.buffers.page[id]], true);
    this.granted[id] = 1;
  }

  /** Ends the peer's access. @returns false while the peer uses the page */
  end(id: number): boolean {
    if (this.granted[id] === 0) return true;
    if (!this.grants.endAccess(this.gref[id] as Gref)) return false;
    this.granted[id] = 0;
    return true;
  }

  /** Ends everything; the queue must be stopped. @returns the pages that the peer did not let go of; their entries stay */
  endAll(): Set<Pfn> {
    const kept = new Set<Pfn>();
    for (let id = 0; id < this.gref.length; id++) {
      if (this.end(id)) this.grants.release(this.gref[id] as Gref);
      else kept.add(this.pfns[this.buffers.page[id]]);
    }
    return kept;
  }
}
