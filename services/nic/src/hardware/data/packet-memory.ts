/** The NIC's memory for packets on their way out: whole packets as they were read by DMA, and headers made for segments.
 *  Filled from the front, emptied as a whole when the far end has taken everything. */
import type { PrivateMemory } from '@grantline/machine';

const PACKET_BYTES = 65536 + 64;
/** Packets of the largest size, and many more of the usual one. */
const MEMORY_BYTES = 4 * PACKET_BYTES;
const HEADER_BYTES = 128;
const HEADERS = 256;
/** Headers begin two bytes behind a multiple of 4: IP and TCP are aligned then. */
const SHIFT = 2;

export class PacketMemory {
  /** Place for the headers that a packet's segments are made from. */
  readonly template: number;
  private readonly base: number;
  private readonly headers: number;
  private used = 0;
  private usedHeaders = 0;

  constructor(space: PrivateMemory) {
    this.base = space.mapPrivate(MEMORY_BYTES);
    this.headers = space.mapPrivate((HEADERS + 1) * HEADER_BYTES);
    this.template = this.headers + HEADERS * HEADER_BYTES + SHIFT;
  }

  /** @returns true when a packet of so many bytes and its segments' headers fit */
  fits(bytes: number, segments: number): boolean {
    return this.used + bytes + 64 <= MEMORY_BYTES && this.usedHeaders + segments <= HEADERS;
  }

  /** The packet of so many bytes that was placed last is not sent yet after all. */
  giveBack(bytes: number): void {
    this.used -= (bytes + SHIFT + 63) & ~63;
  }

  /** Place for a packet. */
  packet(bytes: number): number {
    const at = this.base + this.used + SHIFT;
    this.used += (bytes + SHIFT + 63) & ~63;
    return at;
  }

  /** Place for a segment's headers. */
  header(): number {
    return this.headers + this.usedHeaders++ * HEADER_BYTES + SHIFT;
  }

  /** Everything has been taken. */
  clear(): void {
    this.used = 0;
    this.usedHeaders = 0;
  }
}

/** Longest headers that segmentation repeats. */
export const MAX_SEGMENT_HEADER = HEADER_BYTES - SHIFT;
