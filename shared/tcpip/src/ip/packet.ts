/** A received packet on its way up: one object for the life of a stack. */
import type { Mem } from '@grantline/machine';

/** Most parts of a packet: 64 KiB in frames of 1500 bytes, or in pages. */
export const MAX_PARTS = 64;

export class Packet {
  /** Where its parts lie: the first holds all headers and may hold payload, the others payload. */
  readonly off = new Int32Array(MAX_PARTS);
  readonly len = new Int32Array(MAX_PARTS);
  parts = 0;
  /** Bytes of all parts. */
  bytes = 0;
  /** Flags of link.ts, and payload bytes of the segments that it was made of, or 0. */
  flags = 0;
  gsoSize = 0;
  // Of the IP header:
  /** Byte offset of the IP header, of the transport header, and bytes from there on as the IP header has it. */
  ip = 0;
  l4 = 0;
  l4Bytes = 0;
  src = 0;
  dst = 0;

  /** Bytes of transport header and payload in the first part. */
  get linear(): number {
    const there = this.off[0] + this.len[0] - this.l4;
    return there < this.l4Bytes ? there : this.l4Bytes;
  }

  /** Makes the transport part contiguous, for what is not TCP. @param scratch room for 64 KiB */
  flatten(mem: Mem, scratch: number): void {
    let to = this.linear;
    if (to === this.l4Bytes) return;
    mem.u8.copyWithin(scratch, this.l4, this.l4 + to);
    for (let i = 1; i < this.parts && to < this.l4Bytes; i++) {
      const bytes = Math.min(this.len[i], this.l4Bytes - to);
      mem.u8.copyWithin(scratch + to, this.off[i], this.off[i] + bytes);
      to += bytes;
    }
    this.l4 = scratch;
    this.off[0] = scratch;
    this.len[0] = to;
    this.parts = 1;
  }
}
