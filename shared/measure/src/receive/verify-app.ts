/** The application of a measured run: takes each frame's payload into private memory and proves that it is the right one.
 *
 *  A payload is copied and compared in one pass (Bulk.take): each byte is read once out of the buffer, which others may still write to,
 *  and what was compared is what stands in private memory then. It goes to one place, as with a program that reads into one buffer again
 *  and again, so that a frame costs the cache no more than its own lines.
 *
 *  Every frame that it is handed counts in frames. Of these, corrupt, duplicate and foreign are not good ones; a frame
 *  whose stamp is wrong is not known by sequence, so it is corrupt and also missing. */
import * as frames from '@grantline/frames';
import { FlowTracker, Pattern, stampCheck } from '@grantline/frames';
import { slots, recordLatency, type PrivateMemory, type CounterBlock, type Mem } from '@grantline/machine';
import { APP_COUNTERS } from '@grantline/observe';
import type { FrameApp, PieceList } from './frame-app.js';

// Local, so that the engine folds them into the code: see flow-templates.ts.
const { PATTERN_MAX, PATTERN_SUMS, PATTERN_VARIANTS } = frames;
const { STAMP_BYTES, STAMP_CHECK, STAMP_SEQ, STAMP_TIME } = frames;
const C = slots(APP_COUNTERS);
/** Longest payload that can be received at all: more than an IP packet holds. */
const PAYLOAD_BYTES = 65536;
/** Fewer bytes of an alien pattern than these could agree with ours by chance. */
const TELLING_BYTES = 16;

// A send time from its words (little-endian machines only, as all of this).
const time = new Float64Array(1);
const words = new Int32Array(time.buffer);

interface VerifyRun {
  seed: number;
  /** Sequence of each flow's first frame; 0 unless a test says otherwise. */
  firstSequence?: number;
}

export class VerifyApp implements FrameApp {
  readonly wantsRaw = false;
  private readonly mem: Mem;
  private readonly counters: CounterBlock;
  private readonly latency: CounterBlock;
  private readonly flows = new FlowTracker();
  private pattern = new Pattern(0);
  /** Byte offsets in private memory: the pattern, variant by variant, and where payloads are taken to. */
  private readonly expected: number;
  private readonly at: number;
  private now = 0;
  private frames = 0;
  private bytes = 0;
  private payload = 0;
  private copies = 0;
  private corrupt = 0;
  private foreign = 0;
  /** Right frames that were sent at one time, in a row: the words of that time, and how many. Frames of a burst have one. */
  private timeHi = 0;
  private timeLo = 0;
  private timed = 0;

  /** @param space where the application's private memory comes from
   *  @param counters named as APP_COUNTERS; committed once per batch
   *  @param latency a block of LATENCY; committed likewise */
  constructor(space: PrivateMemory, counters: CounterBlock, latency: CounterBlock) {
    this.mem = space.mem;
    this.counters = counters;
    this.latency = latency;
    this.expected = space.mapPrivate(this.pattern.bytes.length);
    this.at = space.mapPrivate(PAYLOAD_BYTES);
    this.mem.u8.set(this.pattern.bytes, this.expected);
    this.flows.reset();
  }

  /** A new run: forgets all flows, sets the counters to zero. */
  reset(run: VerifyRun): void {
    if (this.pattern.seed !== run.seed) {
      this.pattern = new Pattern(run.seed);
      this.mem.u8.set(this.pattern.bytes, this.expected);
    }
    this.flows.reset(run.firstSequence);
    this.clear();
    this.counters.reset();
    this.latency.reset();
  }

  begin(nowNs: number): void {
    this.now = nowNs;
  }

  raw(): void {}

  segment(pieces: PieceList, from: number, to: number): void {
    const { off, len, frameBytes } = pieces;
    for (let i = from; i < to; i++) {
      if (frameBytes[i] !== 0) {
        this.frame(off[i], len[i], frameBytes[i]);
      } else {
        const first = i;
        while (frameBytes[i] === 0) i++;
        this.chain(pieces, first, i);
      }
    }
  }

  end(): void {
    this.settleTimes();
    const v = this.counters.v;
    const { flows } = this;
    // Added, not set: a reset of the counter file must not be overruled.
    v[C.frames] += this.frames;
    v[C.bytes] += this.bytes;
    v[C.payloadBytes] += this.payload;
    v[C.copies] += this.copies;
    v[C.corrupt] += this.corrupt;
    v[C.duplicate] += flows.duplicate;
    v[C.reordered] += flows.reordered;
    v[C.missing] += flows.missing;
    v[C.foreign] += this.foreign;
    this.clear();
    this.counters.commit();
    this.latency.commit();
  }

  private clear(): void {
    const { flows } = this;
    this.frames = this.bytes = this.payload = this.copies = this.corrupt = this.foreign = this.timed = 0;
    flows.duplicate = flows.reordered = flows.missing = 0;
  }

  /** A frame whose payload lies in one buffer. */
  private frame(off: number, bytes: number, frameBytes: number): void {
    this.frames++;
    this.bytes += frameBytes;
    this.payload += bytes;
    this.copies++;
    const { at, mem } = this;
    const n = bytes - STAMP_BYTES;
    if (n < 0 || n > PATTERN_MAX) {
      mem.bulk.copy(at, off, bytes);
      this.foreign++;
      return;
    }
    const { dv } = mem;
    const from = off + n;
    const to = at + n;
    // Each word is read once: what is judged is what was written.
    const id = dv.getUint16(from);
    const sequence = dv.getInt32(from + STAMP_SEQ);
    const hi = dv.getInt32(from + STAMP_TIME);
    const lo = dv.getInt32(from + STAMP_TIME + 4);
    const check = dv.getInt32(from + STAMP_CHECK);
    dv.setUint16(to, id);
    dv.setInt32(to + STAMP_SEQ, sequence);
    dv.setInt32(to + STAMP_TIME, hi);
    dv.setInt32(to + STAMP_TIME + 4, lo);
    dv.setInt32(to + STAMP_CHECK, check);
    const variant = id & 15;
    let same = 1;
    if (n > 0)
      same = mem.bulk.take(at, off, this.expected + (variant < PATTERN_VARIANTS ? variant : 0) * PATTERN_MAX, n);
    this.judge(n, id, sequence, hi, lo, check, same);
  }

  /** A frame whose payload lies in several buffers: the pieces first..last. */
  private chain(pieces: PieceList, first: number, last: number): void {
    const { off, len, frameBytes } = pieces;
    const { at, mem } = this;
    let bytes = 0;
    for (let i = first; i <= last; i++) {
      mem.bulk.copy(at + bytes, off[i], len[i]);
      bytes += len[i];
    }
    this.frames++;
    this.bytes += frameBytes[last];
    this.payload += bytes;
    this.copies += last - first + 1;
    const n = bytes - STAMP_BYTES;
    if (n < 0 || n > PATTERN_MAX) {
      this.foreign++;
      return;
    }
    const { dv } = mem;
    const stamp = at + n;
    const id = dv.getUint16(stamp);
    const sequence = dv.getInt32(stamp + STAMP_SEQ);
    const hi = dv.getInt32(stamp + STAMP_TIME);
    const lo = dv.getInt32(stamp + STAMP_TIME + 4);
    const variant = id & 15;
    const same = mem.bulk.same(at, this.expected + (variant < PATTERN_VARIANTS ? variant : 0) * PATTERN_MAX, n);
    this.judge(n, id, sequence, hi, lo, dv.getInt32(stamp + STAMP_CHECK), same);
  }

  /** Judges a payload that lies in private memory. @param n bytes in front of its stamp, whose words follow
   *  @param same 1: those bytes are the pattern that the stamp names */
  private judge(n: number, id: number, sequence: number, hi: number, lo: number, check: number, same: number): void {
    const variant = id & 15;
    const isRight =
      variant < PATTERN_VARIANTS &&
      stampCheck(this.pattern.sums[variant * PATTERN_SUMS + n], id, sequence, hi, lo) === check;
    if (!isRight) {
      if (this.isDamaged(n)) this.corrupt++;
      else this.foreign++;
      return;
    }
    if (same === 0) this.corrupt++;
    this.flows.take(id >>> 4, sequence);
    if (lo !== this.timeLo || hi !== this.timeHi) {
      this.settleTimes();
      this.timeLo = lo;
      this.timeHi = hi;
    }
    this.timed++;
  }

  private settleTimes(): void {
    if (this.timed === 0) return;
    words[1] = this.timeHi;
    words[0] = this.timeLo;
    recordLatency(this.latency, this.now - time[0], this.timed);
    this.timed = 0;
  }

  /** Of a payload whose stamp is wrong, in private memory: @param n bytes in front of the stamp
   *  @returns true when it is one of ours, damaged: it holds a pattern, or is too short to tell */
  private isDamaged(n: number): boolean {
    if (n < TELLING_BYTES) return true;
    const { at, expected } = this;
    const { bulk } = this.mem;
    for (let v = 0; v < PATTERN_VARIANTS; v++) {
      const p = expected + v * PATTERN_MAX;
      const end = n - TELLING_BYTES;
      if (bulk.same(at, p, TELLING_BYTES) === 1 || bulk.same(at + end, p + end, TELLING_BYTES) === 1) return true;
    }
    return false;
  }
}
