/** Large receive offload: joins consecutive segments of a TCP flow into one, by the rules of shared/frames/src/join.ts. Acknowledgements
 *  and timestamps may not go back, and the segment has the last one's.
 *
 *  A held flow is only a note of what the next segment must look like; the segment itself stands in the stack's list
 *  since its first frame, in the order of arrival. So nothing has to be flushed out, forgetting the note is enough, and
 *  frames never overtake others of their flow. */
import type { Mem } from '@grantline/machine';
import * as frames from '@grantline/frames';

// Local, so that the engine folds them into the code: see flow-templates.ts.
const { IP_BYTES, IP_DST, IP_FLAGS, IP_SRC, IP_TOS, IP_TTL } = frames;
const { follows, isLast, mayJoin } = frames;
const { TCP_ACK, TCP_BYTES, TCP_FLAG_BITS, TCP_OFFSET, TCP_PSH, TCP_SEQ, TCP_SRC } = frames;
const { TCP_TSVAL, TCP_TS_BYTES, TCP_TS_LAYOUT, TCP_TS_OPTION } = frames;

/** Flows held at once (Linux: MAX_GRO_SKBS per bucket). */
const FLOWS = 8;

/** Answers of `offer` that are no segment number. */
const NEW = -1;
const ALONE = -2;
export const LRO_NEW = NEW;
export const LRO_ALONE = ALONE;

// A held flow, in 32-bit words.
const SRC = 0;
const DST = 1;
const PORTS = 2;
const VLAN = 3;
const SEGMENT = 4;
/** The sequence number that comes next. */
const NEXT = 5;
const ACK = 6;
const TSVAL = 7;
const THL = 8;
const TOS_TTL_DF = 9;
/** Payload of each frame but the last. */
const PAYLOAD = 10;
/** Length of the IP packet that the segment stands for. */
const TOTAL = 11;
const WORDS = 16;

/** IP_DF in the byte at IP_FLAGS. */
const DF = 0x40;

export class Lro {
  private readonly mem: Mem;
  private held = 0;
  /** One row per held flow, the one held longest first. */
  private readonly rows = new Int32Array(FLOWS * WORDS);

  constructor(mem: Mem) {
    this.mem = mem;
  }

  /** The batch ends: nothing is held any more. */
  flush(): void {
    this.held = 0;
  }

  /** Judges one TCP segment whose headers are known to be whole.
   *  @param ip @param tcp byte offsets of the headers
   *  @param ihl @param thl lengths of the headers
   *  @param bytes payload
   *  @param vlan 0x10000 | tci, or 0 without a tag
   *  @param fresh number that the segment gets if it is not joined to another
   *  @returns the segment that this one continues; LRO_NEW: it begins one that others may continue; LRO_ALONE */
  offer(ip: number, ihl: number, tcp: number, thl: number, bytes: number, vlan: number, fresh: number): number {
    const dv = this.mem.dv;
    const rows = this.rows;
    const src = dv.getInt32(ip + IP_SRC);
    const dst = dv.getInt32(ip + IP_DST);
    const ports = dv.getInt32(tcp + TCP_SRC);
    let at = (this.held - 1) * WORDS;
    while (at >= 0 && (rows[at + PORTS] !== ports || rows[at + SRC] !== src || rows[at + DST] !== dst)) at -= WORDS;

    const flags = dv.getUint16(tcp + TCP_OFFSET) & TCP_FLAG_BITS;
    if (
      ihl !== IP_BYTES ||
      !mayJoin(flags, bytes) ||
      (thl !== TCP_BYTES && (thl !== TCP_TS_BYTES || dv.getInt32(tcp + TCP_TS_OPTION) !== TCP_TS_LAYOUT))
    ) {
      if (at >= 0) this.drop(at);
      return ALONE;
    }
    const sequence = dv.getInt32(tcp + TCP_SEQ);
    const ack = dv.getInt32(tcp + TCP_ACK);
    const tsval = thl === TCP_TS_BYTES ? dv.getInt32(tcp + TCP_TSVAL) : 0;
    const tosTtlDf =
      (dv.getUint8(ip + IP_TOS) << 16) | (dv.getUint8(ip + IP_TTL) << 8) | (dv.getUint8(ip + IP_FLAGS) & DF);
    if (at >= 0) {
      const payload = rows[at + PAYLOAD];
      const total = rows[at + TOTAL] + bytes;
      if (
        follows(rows[at + NEXT], sequence, bytes, payload, total) &&
        rows[at + THL] === thl &&
        rows[at + VLAN] === vlan &&
        rows[at + TOS_TTL_DF] === tosTtlDf &&
        ((ack - rows[at + ACK]) | 0) >= 0 &&
        ((tsval - rows[at + TSVAL]) | 0) >= 0
      ) {
        const segment = rows[at + SEGMENT];
        if (isLast(flags, bytes, payload)) {
          this.drop(at);
        } else {
          rows[at + NEXT] = (sequence + bytes) | 0;
          rows[at + TOTAL] = total;
          rows[at + ACK] = ack;
          rows[at + TSVAL] = tsval;
        }
        return segment;
      }
      this.drop(at);
    }
    // What ends a merge does not begin one.
    if ((flags & TCP_PSH) !== 0) return ALONE;
    // The one held longest makes room, as in Linux.
    if (this.held === FLOWS) this.drop(0);
    at = this.held++ * WORDS;
    rows[at + SRC] = src;
    rows[at + DST] = dst;
    rows[at + PORTS] = ports;
    rows[at + VLAN] = vlan;
    rows[at + SEGMENT] = fresh;
    rows[at + NEXT] = (sequence + bytes) | 0;
    rows[at + ACK] = ack;
    rows[at + TSVAL] = tsval;
    rows[at + THL] = thl;
    rows[at + TOS_TTL_DF] = tosTtlDf;
    rows[at + PAYLOAD] = bytes;
    rows[at + TOTAL] = IP_BYTES + thl + bytes;
    return NEW;
  }

  /** Forgets the flow of a row; the others keep their order of age. */
  private drop(at: number): void {
    this.rows.copyWithin(at, at + WORDS, this.held * WORDS);
    this.held--;
  }
}
