/** Large receive offload in software: joins consecutive segments of a flow before the connection sees them, so that its
 *  work and the acknowledgement are done once for up to 64 KiB. The rules: shared/frames/src/join.ts.
 *
 *  A held segment refers to the frames' memory, so buffers may be reused only after NetStack.flush. With coalescing off
 *  everything is copied before `input` returns. */
import { IP_BYTES, JOIN_RULES, TCP_BYTES, TCP_PSH } from '@grantline/frames';
import { C, type Host } from '../host.js';
import { MAX_PARTS, type Packet } from '../ip/ipv4.js';
import { Segment, parseTcp } from './segment.js';
import { seqGe } from './seq.js';

const { follows, isLast, mayJoin } = JOIN_RULES;
/** Flows held at once, as in Linux. */
const FLOWS = 8;

export class Coalescer {
  /** May be changed between batches. */
  enabled: boolean;
  private readonly host: Host;
  private readonly deliver: (seg: Segment) => void;
  /** What is held, the one held longest first, and objects to parse into: one more than can be held. */
  private readonly held: Segment[] = [];
  private readonly free: Segment[] = [];

  constructor(host: Host, enabled: boolean, deliver: (seg: Segment) => void) {
    this.host = host;
    this.enabled = enabled;
    this.deliver = deliver;
    for (let i = 0; i <= FLOWS; i++) this.free.push(new Segment());
  }

  /** Takes a packet whose protocol is TCP. */
  input(packet: Packet): void {
    const seg = this.free.pop()!;
    if (!parseTcp(this.host, packet, seg)) {
      this.free.push(seg);
      return;
    }
    if (this.enabled) {
      const { held } = this;
      const plain = mayJoin(seg.flags, seg.bytes) && seg.sackBlocks === 0;
      let at = held.length - 1;
      while (at >= 0 && !isSameFlow(held[at], seg)) at--;
      if (at >= 0) {
        if (plain && continues(held[at], seg)) {
          const last = isLast(seg.flags, seg.bytes, unitOf(held[at]));
          merge(held[at], seg);
          this.host.v[C.tcpCoalesced]++;
          this.free.push(seg);
          if (last) this.release(at);
          return;
        }
        this.release(at);
      }
      // What ends a merge does not begin one.
      if (plain && (seg.flags & TCP_PSH) === 0) {
        if (held.length === FLOWS) this.release(0);
        held.push(seg);
        return;
      }
    }
    this.deliver(seg);
    this.free.push(seg);
  }

  /** The batch ends: hands on everything held. */
  flush(): void {
    while (this.held.length > 0) this.release(0);
  }

  private release(at: number): void {
    const { held } = this;
    const seg = held[at];
    for (let i = at + 1; i < held.length; i++) held[i - 1] = held[i];
    held.length--;
    this.deliver(seg);
    this.free.push(seg);
  }
}
const unitOf = (seg: Segment): number => (seg.gsoSize > 0 ? seg.gsoSize : seg.bytes);

const isSameFlow = (a: Segment, b: Segment): boolean =>
  a.srcPort === b.srcPort && a.dstPort === b.dstPort && a.src === b.src && a.dst === b.dst;

function continues(held: Segment, seg: Segment): boolean {
  const total = IP_BYTES + TCP_BYTES + held.bytes + seg.bytes;
  return (
    follows((held.seq + held.bytes) | 0, seg.seq, unitOf(seg), unitOf(held), total) &&
    held.parts + seg.parts <= MAX_PARTS &&
    held.hasTs === seg.hasTs &&
    seqGe(seg.ack, held.ack) &&
    (!seg.hasTs || seqGe(seg.tsVal, held.tsVal))
  );
}

/** The joined segment has the first one's sequence number, and all else of the last one. */
function merge(held: Segment, seg: Segment): void {
  if (held.gsoSize === 0) held.gsoSize = held.bytes;
  for (let i = seg.first; i < seg.parts; i++) {
    held.off[held.parts] = seg.off[i];
    held.len[held.parts++] = seg.len[i];
  }
  held.bytes += seg.bytes;
  held.ack = seg.ack;
  held.window = seg.window;
  held.flags |= seg.flags;
  held.tsVal = seg.tsVal;
  held.tsEcr = seg.tsEcr;
}
