/** Private memory that frames are sent from: the generator's templates, held frames, and a loaded capture. */
import { type Capture, STORE_BYTES, storedBytes, type MacRewriter } from '@grantline/observe';
import { TEMPLATE_BYTES, ETH_MIN_FRAME } from '@grantline/frames';
import { MAX_GUESTS, PAGE_SIZE } from '@grantline/base';
import type { AddressSpace } from '@grantline/machine';
import { HOLD_BYTES } from './generator.js';
import type { LoadedCapture } from './replay.js';

export class FrameStore {
  private readonly space: AddressSpace;
  private templates = -1;
  private hold = -1;
  private room = -1;
  /** Of it there is memory. */
  private roomBytes = 0;

  constructor(space: AddressSpace) {
    this.space = space;
  }

  /** @returns byte offset of TEMPLATE_BYTES; the same for each load, for there is one at a time */
  templatesAt(): number {
    if (this.templates < 0) this.templates = this.space.mapPrivate(TEMPLATE_BYTES);
    return this.templates;
  }

  /** @returns byte offset of MAX_GUESTS * HOLD_BYTES */
  holdAt(): number {
    if (this.hold < 0) this.hold = this.space.mapPrivate(MAX_GUESTS * HOLD_BYTES);
    return this.hold;
  }

  /** Copies a capture's frames in, padded with zeros to 60 bytes as a sender does, with new addresses. The capture that
   *  was there before is gone. @throws RangeError when it is too large */
  load(capture: Capture, rewriter: MacRewriter): LoadedCapture {
    const { count } = capture;
    const offsets = new Int32Array(count);
    const lengths = new Uint32Array(count);
    const timesNs = new Float64Array(count);
    let bytes = 0;
    for (let i = 0; i < count; i++) {
      lengths[i] = Math.max(capture.lengths[i], ETH_MIN_FRAME);
      bytes += storedBytes(lengths[i]);
    }
    if (bytes > STORE_BYTES)
      throw new RangeError(
        `the capture's frames need ${bytes} bytes of memory; at most ${STORE_BYTES} are there: cut it`,
      );
    const { u8 } = this.space.mem;
    let at = this.roomFor(bytes);
    let latest = 0;
    for (let i = 0; i < count; i++) {
      const from = capture.offsets[i];
      const len = capture.lengths[i];
      u8.set(capture.bytes.subarray(from, from + len), at);
      u8.fill(0, at + len, at + lengths[i]);
      rewriter.apply(u8, at, lengths[i]);
      offsets[i] = at;
      // Captures are not always in order of time; frames are sent in the file's order.
      latest = Math.max(latest, capture.timesNs[i]);
      timesNs[i] = latest;
      at += storedBytes(lengths[i]);
    }
    return { count, offsets, lengths, timesNs };
  }

  /** Gives the memory of a capture back. It must not be sent from any more. */
  forget(): void {
    if (this.roomBytes > 0) this.space.unmap(this.room, this.roomBytes);
    this.roomBytes = 0;
  }

  /** Addresses cannot be given back, only memory: they are reserved once, for the largest. */
  private roomFor(bytes: number): number {
    if (this.room < 0) this.room = this.space.reserve(STORE_BYTES);
    if (bytes <= this.roomBytes) return this.room;
    this.forget();
    const size = Math.min(STORE_BYTES, Math.max(1 << 20, Math.ceil(bytes / PAGE_SIZE) * PAGE_SIZE));
    this.space.mapPrivateAt(this.room, size);
    this.roomBytes = size;
    return this.room;
  }
}
