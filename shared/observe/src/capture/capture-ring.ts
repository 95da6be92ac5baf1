/** Where frames of a capture wait for their reader: finished packet blocks of a pcapng file, one after the other, in
 *  private memory of the address space, so that a frame gets in by one copyWithin. docs/wire/capture.md.
 *
 *  One writer and one reader, on the same thread. A frame that finds no room is counted and gone: the path goes on. */
import { nowNs } from '@grantline/base';
import { type CounterBlock, slots, type Mem } from '@grantline/machine';
import { CAPTURE_COUNTERS } from '../counters/names.js';
import { allReasons, REASONS } from './drop-reasons.js';
import { OPTION_COMMENT, OPTION_FLAGS } from './pcapng-blocks.js';
import { PCAPNG_ENHANCED } from './pcapng.js';

const C = slots(CAPTURE_COUNTERS);
/** Bytes of a packet block before the frame. */
const HEAD = 28;
/** The flags, the end of the options, the length again. */
const TAIL = 8 + 4 + 4;
const TWO32 = 2 ** 32;

/** By reason: the option with its comment, padded. */
let comments: (Uint8Array | null)[] | null = null;

function commentOptions(): (Uint8Array | null)[] {
  const out = new Array<Uint8Array | null>(REASONS).fill(null);
  for (const [reason, said] of allReasons()) {
    const words = Buffer.from(said);
    const option = Buffer.alloc(4 + ((words.length + 3) & ~3));
    option.writeUInt16LE(OPTION_COMMENT, 0);
    option.writeUInt16LE(words.length, 2);
    words.copy(option, 4);
    out[reason] = new Uint8Array(option);
  }
  return out;
}

export interface RingOptions {
  mem: Mem;
  /** Byte offset and size of its memory, multiples of 4. */
  at: number;
  bytes: number;
  /** Bytes kept of a frame at most. */
  snaplen: number;
  /** Nanoseconds since 1970 at the origin of `now`. */
  epochNs: bigint;
  counters: CounterBlock;
  /** Monotonic nanoseconds; nowNs when not given. */
  now?: () => number;
}

export class CaptureRing {
  /** Frames that were offered, and those of them that found no room. */
  received = 0;
  dropped = 0;
  readonly snaplen: number;
  readonly now: () => number;
  private readonly o: RingOptions;
  private readonly epochHigh: number;
  private readonly epochLow: number;
  private readonly comments: (Uint8Array | null)[];
  // Positions, from 0. While the written part goes around the end, its upper part stops at `end`.
  private write = 0;
  private read = 0;
  private end = 0;

  constructor(options: RingOptions) {
    this.o = options;
    this.snaplen = options.snaplen;
    this.now = options.now ?? nowNs;
    this.epochHigh = Number(options.epochNs >> 32n);
    this.epochLow = Number(options.epochNs & 0xffffffffn);
    this.comments = comments ??= commentOptions();
  }

  /** Writes a frame that lies in `n` pieces.
   *  @param length of the frame on its way, of which the pieces may hold less
   *  @param direction INBOUND: to the guest, OUTBOUND: from it
   *  @param reason of drop-reasons.ts */
  put(
    at: Int32Array,
    len: Int32Array,
    first: number,
    n: number,
    length: number,
    timeNs: number,
    direction: number,
    reason: number,
  ): void {
    let held = 0;
    for (let i = 0; i < n; i++) held += len[first + i];
    const kept = held < this.snaplen ? held : this.snaplen;
    const comment = this.comments[reason] ?? null;
    const padded = (kept + 3) & ~3;
    const total = HEAD + padded + TAIL + (comment === null ? 0 : comment.length);
    this.received++;
    const { mem, counters } = this.o;
    const v = counters.v;
    const place = this.place(total);
    if (place < 0) {
      this.dropped++;
      v[C.overflow]++;
      return;
    }
    const { u8, u32 } = mem;
    const start = this.o.at + place;
    let w = start >> 2;
    const low = this.epochLow + timeNs;
    const carry = Math.floor(low / TWO32);
    u32[w] = PCAPNG_ENHANCED;
    u32[w + 1] = total;
    u32[w + 2] = 0;
    u32[w + 3] = this.epochHigh + carry;
    u32[w + 4] = low - carry * TWO32;
    u32[w + 5] = kept;
    u32[w + 6] = length;
    let to = start + HEAD;
    let left = kept;
    for (let i = 0; left > 0; i++) {
      const part = len[first + i] < left ? len[first + i] : left;
      u8.copyWithin(to, at[first + i], at[first + i] + part);
      to += part;
      left -= part;
    }
    for (const stop = start + HEAD + padded; to < stop; to++) u8[to] = 0;
    w = to >> 2;
    u32[w] = OPTION_FLAGS | (4 << 16);
    u32[w + 1] = direction;
    w += 2;
    if (comment !== null) {
      u8.set(comment, w << 2);
      w += comment.length >> 2;
    }
    u32[w] = 0;
    u32[w + 1] = total;
    v[C.frames]++;
    v[C.bytes] += length;
  }

  /** Takes whole blocks out, oldest first. @param most bytes; a block longer than that comes alone
   *  @returns null when there are none */
  take(most: number): Buffer | null {
    if (this.read === this.write) return null;
    const stop = this.write > this.read ? this.write : this.end;
    const { mem, at } = this.o;
    let to = this.read;
    while (to < stop) {
      const next = to + mem.u32[((at + to) >> 2) + 1];
      if (to > this.read && next - this.read > most) break;
      to = next;
    }
    const out = Buffer.from(mem.u8.slice(at + this.read, at + to).buffer);
    this.read = to;
    if (this.read === this.write) this.read = this.write = 0;
    else if (this.read === this.end && this.write < this.read) this.read = 0;
    return out;
  }

  /** @returns position of so many bytes in one stretch; -1: there is no room */
  private place(size: number): number {
    const { read, write } = this;
    const { bytes } = this.o;
    if (write >= read) {
      if (size <= bytes - write) {
        this.write = write + size;
        return write;
      }
      if (size >= read) return -1;
      this.end = write;
      this.write = size;
      return 0;
    }
    if (size >= read - write) return -1;
    this.write = write + size;
    return write;
  }
}
