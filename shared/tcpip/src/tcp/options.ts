/** TCP options: maximum segment size (RFC 9293, 3.7.1), window scale and timestamps (RFC 7323), SACK (RFC 2018).
 *  Others are skipped. A length that leads out of the header makes the segment bad. */
import { TCP_TS_LAYOUT } from '@grantline/frames';
import type { Mem } from '@grantline/machine';
import { MAX_SACK_BLOCKS, type Segment } from './segment.js';

const END = 0;
const NOP = 1;
const MSS = 2;
const SCALE = 3;
const SACK_PERMITTED = 4;
const SACK = 5;
const TIMESTAMPS = 8;
/** RFC 7323, 2.3: larger ones count as 14. */
export const MAX_SCALE = 14;
export const TS_OPTION_BYTES = 12;
/** Options of a SYN of ours with everything on. */
export const SYN_OPTION_BYTES = 20;

/** Reads the options between two byte offsets into the segment. @returns false when they contradict */
export function parseOptions(mem: Mem, from: number, end: number, seg: Segment): boolean {
  const { dv, u8 } = mem;
  seg.hasTs = false;
  seg.mss = 0;
  seg.scale = -1;
  seg.sackPermitted = false;
  seg.sackBlocks = 0;
  if (end - from === TS_OPTION_BYTES && dv.getInt32(from) === TCP_TS_LAYOUT) {
    seg.hasTs = true;
    seg.tsVal = dv.getInt32(from + 4);
    seg.tsEcr = dv.getInt32(from + 8);
    return true;
  }
  let at = from;
  while (at < end) {
    const kind = u8[at];
    if (kind === END) return true;
    if (kind === NOP) {
      at++;
      continue;
    }
    const bytes = at + 1 < end ? u8[at + 1] : 0;
    if (bytes < 2 || at + bytes > end) return false;
    if (kind === MSS && bytes === 4) seg.mss = dv.getUint16(at + 2);
    else if (kind === SCALE && bytes === 3) seg.scale = Math.min(u8[at + 2], MAX_SCALE);
    else if (kind === SACK_PERMITTED && bytes === 2) seg.sackPermitted = true;
    else if (kind === TIMESTAMPS && bytes === 10) {
      seg.hasTs = true;
      seg.tsVal = dv.getInt32(at + 2);
      seg.tsEcr = dv.getInt32(at + 6);
    } else if (kind === SACK && (bytes & 7) === 2) {
      const blocks = Math.min((bytes - 2) >> 3, MAX_SACK_BLOCKS);
      for (let i = 0; i < 2 * blocks; i++) seg.sack[i] = dv.getInt32(at + 2 + 4 * i);
      seg.sackBlocks = blocks;
    }
    at += bytes;
  }
  return true;
}

/** Writes the timestamp option as Linux lays it out. @returns the offset behind it */
export function writeTimestamps(mem: Mem, at: number, tsVal: number, tsEcr: number): number {
  mem.dv.setInt32(at, TCP_TS_LAYOUT);
  mem.dv.setInt32(at + 4, tsVal);
  mem.dv.setInt32(at + 8, tsEcr);
  return at + TS_OPTION_BYTES;
}

/** Writes the options of a SYN. @param scale -1: none. @returns the offset behind them */
export function writeSynOptions(mem: Mem, from: number, mss: number, scale: number, sackPermitted: boolean): number {
  const { dv } = mem;
  dv.setInt32(from, (MSS << 24) | (4 << 16) | mss);
  let at = from + 4;
  if (sackPermitted) {
    dv.setInt32(at, (NOP << 24) | (NOP << 16) | (SACK_PERMITTED << 8) | 2);
    at += 4;
  }
  if (scale >= 0) {
    dv.setInt32(at, (NOP << 24) | (SCALE << 16) | (3 << 8) | scale);
    at += 4;
  }
  return at;
}

/** Writes the head of a SACK option; the blocks follow. @returns the offset behind it */
export function writeSackHead(mem: Mem, at: number, blocks: number): number {
  mem.dv.setInt32(at, (NOP << 24) | (NOP << 16) | (SACK << 8) | (2 + 8 * blocks));
  return at + 4;
}
