/** A received TCP segment, parsed; its payload stays where it lies. Objects are reused: see Coalescer. */
import { MAX_PARTS } from '../ip/packet.js';

/** Most SACK blocks in one header: four fit into 40 bytes of options. */
export const MAX_SACK_BLOCKS = 4;

export class Segment {
  src = 0;
  dst = 0;
  srcPort = 0;
  dstPort = 0;
  seq = 0;
  ack = 0;
  /** TCP_* bits. */
  flags = 0;
  /** As in the header, not scaled. */
  window = 0;
  /** Payload bytes. */
  bytes = 0;
  /** Payload bytes of each segment that it was made of on the wire; 0: one segment. */
  gsoSize = 0;
  hasTs = false;
  tsVal = 0;
  tsEcr = 0;
  /** Options of a SYN: 0 and -1 where there are none. */
  mss = 0;
  scale = -1;
  sackPermitted = false;
  sackBlocks = 0;
  readonly sack = new Int32Array(2 * MAX_SACK_BLOCKS);
  /** Where the payload lies: the parts first..parts-1. */
  readonly off = new Int32Array(MAX_PARTS);
  readonly len = new Int32Array(MAX_PARTS);
  first = 0;
  parts = 0;

  /** Takes bytes away from the payload's beginning; seq moves on. */
  trimFront(bytes: number): void {
    let rest = bytes;
    while (rest > 0 && this.len[this.first] <= rest) rest -= this.len[this.first++];
    if (rest > 0) {
      this.off[this.first] += rest;
      this.len[this.first] -= rest;
    }
    this.seq = (this.seq + bytes) | 0;
    this.bytes -= bytes;
  }

  /** Leaves only so many bytes of payload. */
  trimTo(bytes: number): void {
    let rest = this.bytes - bytes;
    while (rest > 0) {
      const last = this.parts - 1;
      if (this.len[last] > rest) {
        this.len[last] -= rest;
        break;
      }
      rest -= this.len[last];
      this.parts--;
    }
    this.bytes = bytes;
  }
}
