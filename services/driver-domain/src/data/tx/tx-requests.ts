/** Takes packets from a transmit ring by Xen's rules. Source: Linux drivers/net/xen-netback/netback.c (xenvif_tx_build_gops,
 *  xenvif_count_requests, xenvif_get_extras, xenvif_set_skb_gso). docs/wire/transmit.md has the table.
 *
 *  Each slot is copied once and the copy judged. What cannot be breaks the vif; what is only wrong costs the packet. */
import {
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
  type BackRing,
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
} from '@grantline/xen';
import { PAGE_SIZE } from '@grantline/base';
import { slots, type CounterBlock, type Mem } from '@grantline/machine';
import { NETBACK_TX_COUNTERS } from '@grantline/observe';
import type { TxPackets } from './tx-packets.js';

const C = slots(NETBACK_TX_COUNTERS);
const ETHERNET_HEADER = 14;

/** What `take` returns besides a packet. */
export const FATAL = -1;
export const ANSWERED = -2;

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
   *  @param there requests that the ring has, at least 1
   *  @returns the packet; FATAL; or ANSWERED: it was wrong, and its slots are answered with errors */
  take(there: number): number {
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
    let left = there - 1;
    this.extras = 0;
    this.mss = 0;
    if ((flags & NETTXF_EXTRA_INFO) !== 0) {
      left = this.takeExtras(left);
      if (left < 0) return FATAL;
    }
    let rest = total;
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
      if (size > rest) {
        wrong = C.dropBadRequest;
        p.size[s] = 0;
      } else {
        rest -= size;
        p.size[s] = size;
      }
      if (offset + size > PAGE_SIZE) return this.fatal('a slot reaches over the end of its page');
      more = (txFlags(where) & NETTXF_MORE_DATA) !== 0;
    }
    p.size[first] = rest;
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
    if (p.offset[first] + rest > PAGE_SIZE) return this.fatal('the first slot reaches over the end of its page');
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
