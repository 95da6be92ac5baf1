/** Sends the frames of a capture, in their order: at the recorded pace, at a multiple of it, or as fast as they go; and the
 *  memory that they lie in (CaptureStore). */
import { STORE_BYTES, storedBytes, type Capture, type MacRewriter } from '@grantline/observe';
import { ETH_MIN_FRAME } from '@grantline/frames';
import { PAGE_SIZE } from '@grantline/base';
import type { AddressSpace } from '@grantline/machine';
import type { Cable, Sender } from './cable.js';
import { BURST_FRAMES, RETRY_NS } from '../../hardware/data/nic.js';
import { NO_BUFFER } from '../../hardware/data/nic-queue.js';

/** A capture in private memory, addresses rewritten. */
export interface LoadedCapture {
  readonly count: number;
  /** Byte offset of each frame, a multiple of 4. */
  readonly offsets: Int32Array;
  readonly lengths: Uint32Array;
  /** Nanoseconds since the first frame, ascending. */
  readonly timesNs: Float64Array;
}

/** How it is sent. */
export interface ReplayPlan {
  /** 1 is the recorded pace, 2 twice as fast; Infinity: as fast as possible. */
  readonly factor: number;
  readonly loops: number;
}

/** Private memory for the frames of a capture. */
export class CaptureStore {
  private readonly space: AddressSpace;
  private room = -1;
  /** Of it there is memory. */
  private roomBytes = 0;

  constructor(space: AddressSpace) {
    this.space = space;
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

export class Replay implements Sender {
  scheduled = false;
  done = false;
  /** It sleeps until the wire brings the next frame. */
  readonly patient = false;
  dueAtNs = 0;
  private readonly cable: Cable;
  private readonly capture: LoadedCapture;
  private readonly factor: number;
  private readonly loops: number;
  private readonly spanNs: number;
  /** Time of the first poll; the meter's time is old before it. */
  private startNs = -1;
  private at = 0;
  private loop = 0;
  private taken = 0;
  /** The frame at `at` has come over the wire and waits for a buffer. */
  private held = false;

  constructor(cable: Cable, capture: LoadedCapture, plan: ReplayPlan) {
    this.cable = cable;
    this.capture = capture;
    this.factor = plan.factor;
    this.loops = plan.loops;
    this.spanNs = capture.count === 0 ? 0 : capture.timesNs[capture.count - 1];
    if (capture.count === 0) this.stop();
  }

  /** Frames that the NIC took or dropped, and the loop under way from 1. */
  progress(): { sentFrames: number; heldFrames: number; loop: number } {
    return { sentFrames: this.taken, heldFrames: this.held ? 1 : 0, loop: Math.min(this.loop + 1, this.loops) };
  }

  stop(): void {
    this.done = true;
    this.dueAtNs = Infinity;
  }

  poll(): number {
    if (this.done) return 0;
    const { cable } = this;
    cable.arrived();
    if (this.startNs < 0) this.startNs = cable.now;
    this.dueAtNs = 0;
    cable.open();
    let progress = 0;
    for (let n = 0; n < BURST_FRAMES && !this.done; n++) {
      if (!this.held && !this.comes(cable.now)) break;
      if (!this.offer()) break;
      progress++;
    }
    // Looking a frame up in a table is next to nothing beside transferring it.
    cable.close(progress > 0, 0);
    return progress;
  }

  arm(): boolean {
    const { cable } = this;
    if (this.held) {
      if (cable.awaitBuffers(cable.nic.lastQueue)) return true;
      cable.held();
      this.dueAtNs = cable.now + RETRY_NS;
    }
    cable.nic.moderate(true);
    return false;
  }

  /** Takes the next frame from the wire. @returns false when it has not come yet; dueAtNs tells when it will */
  private comes(now: number): boolean {
    const { pacer } = this.cable;
    const len = this.capture.lengths[this.at];
    const due = this.startNs + (this.loop * this.spanNs + this.capture.timesNs[this.at]) / this.factor;
    if (now < due) {
      this.dueAtNs = due;
      return false;
    }
    if (!pacer.ready(len)) {
      this.dueAtNs = now + pacer.dueNs(now, len);
      return false;
    }
    pacer.take(len);
    return true;
  }

  /** @returns false when the frame must wait for a buffer */
  private offer(): boolean {
    const { cable, at } = this;
    const len = this.capture.lengths[at];
    const status = cable.nic.receive(this.capture.offsets[at], len);
    this.held = status === NO_BUFFER;
    if (this.held) return false;
    this.taken++;
    cable.sent(len);
    if (++this.at < this.capture.count) return true;
    this.at = 0;
    if (++this.loop === this.loops) this.stop();
    return true;
  }
}
