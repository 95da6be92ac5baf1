/** The stamp: the last 18 bytes of the payload of every generated frame (docs/wire/frame-stamp.md). Big-endian.
 *    0                          2          6                14       18
 *    | flow (12) | variant (4)  | sequence | send time, ns  | check  |
 *      u16                        u32        f64              u32
 *  Everything in front of it is pattern. A 60-byte UDP frame carries the stamp and nothing else. */
import type { Mem } from '@grantline/machine';

export const STAMP_ID = 0;
export const STAMP_SEQ = 2;
export const STAMP_TIME = 6;
export const STAMP_CHECK = 14;
export const STAMP_BYTES = 18;

/** Flow numbers are below this. */
export const STAMP_FLOWS = 4096;
/** A flow is one 5-tuple. Where a generator mixes UDP and TCP frames in what it calls one flow, the UDP ones count as
 *  the flow of this number more, with a sequence of their own. */
export const UDP_HALF = 2048;

/** Where generated frames go: the discard port, as with Linux's pktgen. */
export const GENERATOR_PORT = 9;

/** Where requests go: the echo port (RFC 862). */
export const RESPOND_PORT = 7;

/** Binds a stamp to its pattern. Each step is one-to-one in the word that it takes in, so a change of any one word,
 *  and thus of any one bit, gives another check.
 *  @param patternSum Pattern.sumOf(variant, bytes in front of the stamp)
 *  @param timeHi @param timeLo the words of the send time
 *  @returns a signed 32-bit number, as DataView.getInt32 reads it */
export function stampCheck(patternSum: number, id: number, sequence: number, timeHi: number, timeLo: number): number {
  let h = Math.imul(patternSum ^ id, 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 15) ^ sequence, 0xc2b2ae35);
  h = Math.imul(h ^ (h >>> 13) ^ timeHi, 0x27d4eb2f);
  h = Math.imul(h ^ (h >>> 16) ^ timeLo, 0x165667b1);
  return h ^ (h >>> 15);
}

/** Writes a whole stamp; the generator's own loop does the same by parts. For tests and odd jobs. */
export function writeStamp(
  mem: Mem,
  at: number,
  patternSum: number,
  id: number,
  sequence: number,
  timeNs: number,
): void {
  mem.dv.setUint16(at + STAMP_ID, id);
  mem.dv.setUint32(at + STAMP_SEQ, sequence);
  mem.dv.setFloat64(at + STAMP_TIME, timeNs);
  const hi = mem.dv.getInt32(at + STAMP_TIME);
  const lo = mem.dv.getInt32(at + STAMP_TIME + 4);
  mem.dv.setInt32(at + STAMP_CHECK, stampCheck(patternSum, id, sequence, hi, lo));
}
