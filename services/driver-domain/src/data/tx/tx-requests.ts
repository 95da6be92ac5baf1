/** Takes packets from a transmit ring by Xen's rules. Source: Linux drivers/net/xen-netback/netback.c (xenvif_tx_build_gops,
 *  xenvif_count_requests, xenvif_get_extras, xenvif_set_skb_gso). docs/wire/transmit.md has the table.
 *
 *  Each slot is copied once and the copy judged. What cannot be breaks the vif; what is only wrong costs the packet. The copies
 *  are kept in TxPackets until they are answered; packets wait for whatever is next in a PacketFifo. */
import {
  NETBACK_HEADER_BYTES,
  NETBACK_SLOTS_FATAL,
  NETBACK_SLOTS_MAX,
  NETIF_RSP_ERROR,
  NETIF_RSP_NULL,
  NETTXF_EXTRA_INFO,
  NETTXF_MORE_DATA,
  XEN_NETIF_EXTRA_FLAG_MORE,
  XEN_NETIF_EXTRA_TYPE_GSO,
  XEN_NETIF_EXTRA_TYPE_MAX,
  XEN_NETIF_GSO_TYPE_TCPV4,
  extraFlags,
  extraType,
  gsoMss,
  gsoType,
  idxAdd,
  txFlags,
  txId,
  txOffset,
  txRsp,
  txSize,
  type BackRing,
} from '@grantline/xen';
import { PAGE_SIZE } from '@grantline/base';
import { slots, type CounterBlock, type Mem } from '@grantline/machine';
import { NETBACK_TX_COUNTERS } from '@grantline/observe';

const C = slots(NETBACK_TX_COUNTERS);
/** As many as the ring has slots (MAX_PENDING_REQS in Linux). */
export const MAX_PENDING = 256;
const PENDING_MASK = MAX_PENDING - 1;
/** Pages for the copied headers of all packets. */
export const HEADER_PAGES = (MAX_PENDING * NETBACK_HEADER_BYTES) / PAGE_SIZE;
const ETHERNET_HEADER = 14;
/** What `take` returns besides a packet. */
export const FATAL = -1;
const ANSWERED = -2;

export class TxRequests {
  readonly ring: BackRing;
  /** Why the vif must go, after FATAL. */
  reason = '';
  private readonly u32: Uint32Array;
  private readonly packets: TxPackets;
  private readonly counters: CounterBlock;
  private extras = 0;
  private mss = 0;

  constructor(mem: Mem, ring: BackRing, packets: TxPackets, counters: CounterBlock) {
    this.u32 = mem.u32;
    this.ring = ring;
    this.packets = packets;
    this.counters = counters;
  }

  /** Bytes of the next packet, as its first slot claims. Only a hint: the slot is read again when it is taken. */
  peekBytes(): number {
    return txSize(this.u32[(this.ring.slot(this.ring.reqCons) >> 2) + 2]);
  }

  /** Takes the next packet. The caller has found that there are requests.
   *  @param available requests that the ring has, at least 1
   *  @returns the packet; FATAL; or ANSWERED: it was wrong, and its slots are answered with errors */
  take(available: number): number {
    const { packets: p, ring, u32 } = this;
    const at = ring.slot(ring.reqCons) >> 2;
    const first = p.take();
    p.gref[first] = u32[at];
    const firstWhere = u32[at + 1];
    const firstWhat = u32[at + 2];
    const flags = txFlags(firstWhere);
    const total = txSize(firstWhat);
    p.offset[first] = txOffset(firstWhere);
    p.id[first] = txId(firstWhat);
    p.packet[first] = first;
    ring.reqCons = idxAdd(ring.reqCons, 1);
    let left = available - 1;
    this.extras = 0;
    this.mss = 0;
    if ((flags & NETTXF_EXTRA_INFO) !== 0) {
      left = this.takeExtras(left);
      if (left < 0) return FATAL;
    }
    let unclaimed = total;
    let tail = first;
    let count = 0;
    let wrong: number = total < ETHERNET_HEADER ? C.dropBadRequest : -1;
    for (let more = (flags & NETTXF_MORE_DATA) !== 0; more; count++) {
      if (left-- <= 0) return this.fatal('a packet goes on beyond what was published');
      if (count >= NETBACK_SLOTS_FATAL) return this.fatal('a packet has more slots than any packet may have');
      const from = ring.slot(ring.reqCons) >> 2;
      const s = p.take();
      p.gref[s] = u32[from];
      const where = u32[from + 1];
      const what = u32[from + 2];
      ring.reqCons = idxAdd(ring.reqCons, 1);
      const offset = txOffset(where);
      const size = txSize(what);
      p.offset[s] = offset;
      p.id[s] = txId(what);
      p.packet[s] = first;
      p.next[tail] = s;
      tail = s;
      if (count >= NETBACK_SLOTS_MAX) wrong = C.dropTooManySlots;
      // A sum that does not come out is wrong, not impossible: all its slots are consumed and answered.
      if (size > unclaimed) {
        wrong = C.dropBadRequest;
        p.size[s] = 0;
      } else {
        unclaimed -= size;
        p.size[s] = size;
      }
      if (offset + size > PAGE_SIZE) return this.fatal('a slot reaches over the end of its page');
      more = (txFlags(where) & NETTXF_MORE_DATA) !== 0;
    }
    p.size[first] = unclaimed;
    const v = this.counters.v;
    v[C.packets]++;
    v[C.slots] += count + 1;
    v[C.extras] += this.extras;
    p.extras[first] = this.extras;
    if (wrong >= 0) {
      v[wrong]++;
      this.answerAll(first, NETIF_RSP_ERROR);
      return ANSWERED;
    }
    if (p.offset[first] + unclaimed > PAGE_SIZE) return this.fatal('the first slot reaches over the end of its page');
    p.total[first] = total;
    p.flags[first] = flags;
    p.mss[first] = this.mss;
    p.live[first] = 1;
    v[C.bytes] += total;
    return first;
  }

  /** Answers all slots of a packet and forgets it. @param status of each slot that did not fail by itself */
  answerAll(packet: number, status: number): void {
    const { packets: p } = this;
    const { extras } = p;
    this.answer(p.id[packet], p.status[packet] < 0 ? NETIF_RSP_ERROR : status);
    for (let i = 0; i < extras[packet]; i++) this.answer(0, NETIF_RSP_NULL);
    let s = p.next[packet];
    p.give(packet);
    while (s >= 0) {
      this.answer(p.id[s], p.status[s] < 0 ? NETIF_RSP_ERROR : status);
      const following = p.next[s];
      p.give(s);
      s = following;
    }
  }

  private answer(id: number, status: number): void {
    const { ring } = this;
    this.u32[ring.slot(ring.rspProdPvt) >> 2] = txRsp(id, status);
    ring.rspProdPvt = idxAdd(ring.rspProdPvt, 1);
  }

  /** @returns requests left; -1: fatal */
  private takeExtras(left: number): number {
    const { ring, u32 } = this;
    for (let more = true; more;) {
      if (left-- <= 0) {
        this.fatal('extra info is missing');
        return -1;
      }
      const at = ring.slot(ring.reqCons) >> 2;
      const head = u32[at];
      const body = u32[at + 1];
      ring.reqCons = idxAdd(ring.reqCons, 1);
      this.extras++;
      const type = extraType(head);
      if (type === 0 || type >= XEN_NETIF_EXTRA_TYPE_MAX) {
        this.fatal('extra info has a type that there is not');
        return -1;
      }
      if (type === XEN_NETIF_EXTRA_TYPE_GSO) {
        this.mss = gsoMss(head);
        if (this.mss === 0 || gsoType(body) !== XEN_NETIF_GSO_TYPE_TCPV4) {
          this.fatal(this.mss === 0 ? 'segmentation into segments of 0 bytes' : 'segmentation of an unknown type');
          return -1;
        }
      }
      more = (extraFlags(head) & XEN_NETIF_EXTRA_FLAG_MORE) !== 0;
    }
    return left;
  }

  private fatal(reason: string): number {
    this.reason = `tx ring: ${reason}`;
    return FATAL;
  }
}

/** Transmit requests that netback has taken and not yet answered. A request is copied once into these arrays; from then on
 *  only the copy counts, whatever the guest writes into the page. A packet is a chain of them, named by its first one. */
export class TxPackets {
  // By slot: the request; what of it lies behind the header; its mapping.
  readonly id = new Uint16Array(MAX_PENDING);
  readonly gref = new Uint32Array(MAX_PENDING);
  readonly offset = new Uint16Array(MAX_PENDING);
  readonly size = new Uint16Array(MAX_PENDING);
  readonly next = new Int16Array(MAX_PENDING);
  /** GNTST_* of what was asked for this slot: 0, or why it failed. */
  readonly status = new Int16Array(MAX_PENDING);
  /** Handle of its own mapping, -1: none (the grant stands, or all of it was copied). */
  readonly handle = new Float64Array(MAX_PENDING).fill(-1);
  readonly at = new Int32Array(MAX_PENDING);
  readonly dpn = new Int32Array(MAX_PENDING);
  /** Which packet the slot is part of. */
  readonly packet = new Int16Array(MAX_PENDING);
  // By packet.
  readonly total = new Uint16Array(MAX_PENDING);
  readonly flags = new Uint16Array(MAX_PENDING);
  readonly mss = new Uint16Array(MAX_PENDING);
  readonly extras = new Uint8Array(MAX_PENDING);
  readonly headBytes = new Uint16Array(MAX_PENDING);
  /** Descriptors that it will need. */
  readonly pieces = new Uint8Array(MAX_PENDING);
  /** Grant operations without a reply. */
  readonly waiting = new Uint8Array(MAX_PENDING);
  /** How many have the packet: the NIC, other vifs together. */
  readonly users = new Uint8Array(MAX_PENDING);
  /** Slots with a mapping of their own. */
  readonly mapped = new Uint8Array(MAX_PENDING);
  readonly result = new Int16Array(MAX_PENDING);
  readonly live = new Uint8Array(MAX_PENDING);
  /** Frames of these packets that other vifs have (ForeignFrames). */
  lent = 0;
  private readonly free = new Int16Array(MAX_PENDING);
  private freeCount = 0;

  constructor() {
    for (let i = MAX_PENDING - 1; i >= 0; i--) this.free[this.freeCount++] = i;
  }

  /** Slots that are not taken. */
  get room(): number {
    return this.freeCount;
  }

  /** Takes a slot. The caller has asked `room`. */
  take(): number {
    const s = this.free[--this.freeCount];
    this.next[s] = -1;
    this.status[s] = 0;
    this.handle[s] = -1;
    this.dpn[s] = 0;
    this.mapped[s] = 0;
    this.extras[s] = 0;
    return s;
  }

  give(s: number): void {
    this.live[s] = 0;
    this.free[this.freeCount++] = s;
  }
}

/** Packets of one vif queue, first in, first out. There are never more than MAX_PENDING. */
export class PacketFifo {
  count = 0;
  private readonly ring = new Int16Array(MAX_PENDING);
  private from = 0;

  push(packet: number): void {
    this.ring[(this.from + this.count++) & PENDING_MASK] = packet;
  }

  /** The oldest one. Only while there is one. */
  get first(): number {
    return this.ring[this.from];
  }

  /** Takes the oldest one. */
  shift(): number {
    const packet = this.ring[this.from];
    this.from = (this.from + 1) & PENDING_MASK;
    this.count--;
    return packet;
  }
}
