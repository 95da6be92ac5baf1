/** The application of a measured run: takes each frame's payload into private memory and proves that it is the right one.
 *
 *  Every frame that it is handed counts in frames. Of these, corrupt, duplicate and foreign are not good ones; a frame
 *  whose stamp is wrong is not known by sequence, so it is corrupt and also missing. */
import * as frames from '@grantline/frames';
import {
  ETH_BYTES,
  FlowTracker,
  IP_BYTES,
  Pattern,
  TCP_MIN_FRAME,
  TCP_TS_BYTES,
  UDP_BYTES,
  stampCheck,
} from '@grantline/frames';
import { slots, recordLatency, type PrivateMemory, type CounterBlock, type Mem } from '@grantline/machine';
import { APP_COUNTERS } from '@grantline/observe';
import type { FrameApp, PieceList } from './frame-app.js';

// Local, so that the engine folds them into the code: see flow-templates.ts.
const { PATTERN_MAX, PATTERN_SUMS, PATTERN_VARIANTS } = frames;
const { STAMP_BYTES, STAMP_CHECK, STAMP_SEQ, STAMP_TIME } = frames;
const C = slots(APP_COUNTERS);
/** Longest run. Longer ones cost less per compare and more of the cache. */
const RUN_BYTES = 24576;
const RUN_FRAMES = 256;
const AREA_STRIDE = RUN_BYTES + 64;
const AREA_BYTES = AREA_STRIDE * PATTERN_VARIANTS;
/** Payload lengths that get runs; frames of further lengths are compared one by one. */
const MAX_CLASSES = 64;
/** Longest payload that a generator sends. */
const MAX_PAYLOAD = PATTERN_MAX + STAMP_BYTES;
/** Longest payload that can be received at all: more than an IP packet holds. */
const SINGLE_BYTES = 65536;
/** Fewer bytes of an alien pattern than these could agree with ours by chance. */
const TELLING_BYTES = 16;

interface VerifyRun {
  seed: number;
  /** Frame lengths to expect; others are prepared for when they come. */
  frameSizes: readonly number[];
  /** Sequence of each flow's first frame; 0 unless a test says otherwise. */
  firstSequence?: number;
}

export class VerifyApp implements FrameApp {
  readonly wantsRaw = false;
  private readonly mem: Mem;
  private readonly counters: CounterBlock;
  private readonly latency: CounterBlock;
  private readonly checker: PatternChecker;
  private readonly flows = new FlowTracker();
  private readonly stampAt: number;
  private now = 0;
  private frames = 0;
  private bytes = 0;
  private payload = 0;
  private copies = 0;
  private damaged = 0;
  private foreign = 0;

  /** @param space where the application's private memory comes from
   *  @param counters named as APP_COUNTERS; committed once per batch
   *  @param latency a block of LATENCY; committed likewise */
  constructor(space: PrivateMemory, counters: CounterBlock, latency: CounterBlock) {
    this.mem = space.mem;
    this.counters = counters;
    this.latency = latency;
    this.checker = new PatternChecker(space);
    this.stampAt = space.mapPrivate(STAMP_BYTES);
    this.flows.reset();
  }

  /** A new run: forgets all flows, sets the counters to zero. */
  reset(run: VerifyRun): void {
    this.checker.reset(run.seed, run.frameSizes.map(payloadOf));
    this.flows.reset(run.firstSequence);
    this.frames = 0;
    this.bytes = 0;
    this.payload = 0;
    this.copies = 0;
    this.damaged = 0;
    this.foreign = 0;
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
    this.checker.settle();
    const v = this.counters.v;
    // Added, not set: a reset of the counter file must not be overruled.
    v[C.frames] += this.frames;
    v[C.bytes] += this.bytes;
    v[C.payloadBytes] += this.payload;
    v[C.copies] += this.copies;
    v[C.corrupt] += this.damaged + this.checker.corrupt;
    v[C.duplicate] += this.flows.duplicate;
    v[C.reordered] += this.flows.reordered;
    v[C.missing] += this.flows.missing;
    v[C.foreign] += this.foreign;
    this.frames = 0;
    this.bytes = 0;
    this.payload = 0;
    this.copies = 0;
    this.damaged = 0;
    this.foreign = 0;
    this.checker.corrupt = 0;
    this.flows.duplicate = 0;
    this.flows.reordered = 0;
    this.flows.missing = 0;
    this.counters.commit();
    this.latency.commit();
  }

  /** A frame whose payload lies in one buffer. */
  private frame(off: number, bytes: number, frameBytes: number): void {
    this.frames++;
    this.bytes += frameBytes;
    this.payload += bytes;
    this.copies++;
    if (bytes === STAMP_BYTES) {
      this.stampAlone(off);
      return;
    }
    const u8 = this.mem.u8;
    // The variant only chooses the place: it is judged from the copy, as all else.
    const variant = bytes < STAMP_BYTES ? PATTERN_VARIANTS : u8[off + bytes - STAMP_BYTES + 1] & 15;
    const at = this.checker.placeFor(bytes, variant);
    u8.copyWithin(at, off, off + bytes);
    this.judge(at, bytes, variant);
  }

  /** A frame whose payload lies in several buffers: the pieces first..last. */
  private chain(pieces: PieceList, first: number, last: number): void {
    const { off, len, frameBytes } = pieces;
    const u8 = this.mem.u8;
    let bytes = 0;
    for (let i = first; i <= last; i++) bytes += len[i];
    let variant = PATTERN_VARIANTS;
    if (bytes >= STAMP_BYTES) {
      let behind = STAMP_BYTES - 1;
      let i = last;
      while (behind > len[i]) behind -= len[i--];
      variant = u8[off[i] + len[i] - behind] & 15;
    }
    const at = this.checker.placeFor(bytes, variant);
    let to = at;
    for (let i = first; i <= last; i++) {
      u8.copyWithin(to, off[i], off[i] + len[i]);
      to += len[i];
    }
    this.frames++;
    this.bytes += frameBytes[last];
    this.payload += bytes;
    this.copies += last - first + 1;
    this.judge(at, bytes, variant);
  }

  /** @param at where the payload lies now, in private memory
   *  @param variant the one that its place was chosen by */
  private judge(at: number, bytes: number, variant: number): void {
    if (bytes < STAMP_BYTES || bytes > MAX_PAYLOAD) {
      this.foreign++;
      return;
    }
    const dv = this.mem.dv;
    const stamp = at + bytes - STAMP_BYTES;
    const id = dv.getUint16(stamp);
    const sequence = dv.getInt32(stamp + STAMP_SEQ);
    const hi = dv.getInt32(stamp + STAMP_TIME);
    const lo = dv.getInt32(stamp + STAMP_TIME + 4);
    const check = dv.getInt32(stamp + STAMP_CHECK);
    if ((id & 15) === variant && this.isRight(bytes - STAMP_BYTES, id, sequence, hi, lo, check)) {
      this.checker.accept(bytes, variant);
      this.flows.take(id >>> 4, sequence);
      recordLatency(this.latency, this.now - dv.getFloat64(stamp + STAMP_TIME));
    } else if (this.checker.isDamaged(at, bytes)) {
      this.damaged++;
    } else {
      this.foreign++;
    }
  }

  /** The shortest frames, a stamp and nothing else. Word by word costs a third of a copyWithin that is read back at
   *  once, and what is judged is what was written. */
  private stampAlone(off: number): void {
    const dv = this.mem.dv;
    const at = this.stampAt;
    const id = dv.getUint16(off);
    const sequence = dv.getInt32(off + STAMP_SEQ);
    const hi = dv.getInt32(off + STAMP_TIME);
    const lo = dv.getInt32(off + STAMP_TIME + 4);
    const check = dv.getInt32(off + STAMP_CHECK);
    dv.setUint16(at, id);
    dv.setInt32(at + STAMP_SEQ, sequence);
    dv.setInt32(at + STAMP_TIME, hi);
    dv.setInt32(at + STAMP_TIME + 4, lo);
    dv.setInt32(at + STAMP_CHECK, check);
    if (this.isRight(0, id, sequence, hi, lo, check)) {
      this.flows.take(id >>> 4, sequence);
      recordLatency(this.latency, this.now - dv.getFloat64(at + STAMP_TIME));
    } else {
      this.damaged++;
    }
  }

  /** Does the check of a stamp behind n bytes of pattern fit? */
  private isRight(n: number, id: number, sequence: number, hi: number, lo: number, check: number): boolean {
    const variant = id & 15;
    if (variant >= PATTERN_VARIANTS) return false;
    return stampCheck(this.checker.pattern.sums[variant * PATTERN_SUMS + n], id, sequence, hi, lo) === check;
  }
}

/** Payload of a generated frame of that length. */
function payloadOf(frameBytes: number): number {
  return frameBytes - ETH_BYTES - IP_BYTES - (frameBytes >= TCP_MIN_FRAME ? TCP_TS_BYTES : UDP_BYTES);
}

/** Receives payloads into private memory, packed so that their patterns can be checked many at a time.
 *
 *  Payloads of one length and one pattern variant are put behind each other, each over the stamp of the one before, so
 *  that their patterns form one run. A run is compared with a reference (the pattern, repeated) by one native compare
 *  of up to RUN_BYTES. Runs by variant need no order among the frames: loss, reordering and coalescing do not make
 *  them shorter. */
class PatternChecker {
  /** Frames whose pattern was wrong. */
  corrupt = 0;
  pattern = new Pattern(0);
  private readonly space: PrivateMemory;
  private readonly classOf = new Int16Array(MAX_PAYLOAD + 1).fill(-1);
  private classes = 0;
  private maxClasses = MAX_CLASSES;
  private readonly patternBytes = new Int32Array(MAX_CLASSES);
  private readonly capacity = new Int32Array(MAX_CLASSES);
  private readonly areaAt = new Int32Array(MAX_CLASSES);
  private readonly areas: Buffer[] = [];
  private readonly references: Buffer[] = [];
  private readonly runStart = new Int32Array(MAX_CLASSES * PATTERN_VARIANTS);
  private readonly runEnd = new Int32Array(MAX_CLASSES * PATTERN_VARIANTS);
  private readonly runFrames = new Int32Array(MAX_CLASSES * PATTERN_VARIANTS);
  private readonly open = new Int32Array(MAX_CLASSES * PATTERN_VARIANTS);
  private opened = 0;
  private readonly singleAt: number;
  private readonly single: Buffer;

  constructor(space: PrivateMemory) {
    this.space = space;
    this.singleAt = space.mapPrivate(SINGLE_BYTES);
    this.single = bufferAt(space, this.singleAt, SINGLE_BYTES);
  }

  /** Forgets all, and prepares for a seed and for payloads of some lengths. */
  reset(seed: number, payloads: readonly number[]): void {
    if (this.pattern.seed !== seed) this.pattern = new Pattern(seed);
    this.classOf.fill(-1);
    this.classes = 0;
    this.opened = 0;
    this.corrupt = 0;
    for (let i = 0; i < payloads.length; i++) {
      const bytes = payloads[i];
      if (bytes >= STAMP_BYTES && bytes <= MAX_PAYLOAD) this.placeFor(bytes, 0);
    }
  }

  /** Where a payload is to be copied to; the stamp is then its last 18 bytes, and accept or reject must follow.
   *  @param bytes payload length, 18 to 65535
   *  @param variant what its stamp claims, 0 to 15
   *  @returns a byte offset in private memory */
  placeFor(bytes: number, variant: number): number {
    if (bytes > MAX_PAYLOAD || variant >= PATTERN_VARIANTS) return this.singleAt;
    let c = this.classOf[bytes];
    if (c < 0) {
      // Allocates, once for each length.
      c = this.makeClass(bytes);
      if (c < 0) return this.singleAt;
    }
    return this.runEnd[c * PATTERN_VARIANTS + variant];
  }

  /** The payload at its place has a right stamp: its pattern becomes part of the run. */
  accept(bytes: number, variant: number): void {
    const c = this.classOf[bytes];
    const n = bytes - STAMP_BYTES;
    if (n === 0) return;
    if (c < 0) {
      if (this.differs(this.single, 0, variant, n)) this.corrupt++;
      return;
    }
    const run = c * PATTERN_VARIANTS + variant;
    const frames = this.runFrames[run] + 1;
    if (frames === 1) this.open[this.opened++] = run;
    this.runFrames[run] = frames;
    this.runEnd[run] += n;
    // It stays in the list of open runs and may stand there twice; an empty one costs nothing.
    if (frames === this.capacity[c]) this.check(run);
  }

  /** Judges a payload whose stamp is wrong. @param at its place
   *  @returns true when it is one of ours, damaged: it holds a pattern, or is too short to tell */
  isDamaged(at: number, bytes: number): boolean {
    const n = bytes - STAMP_BYTES;
    if (n < TELLING_BYTES) return true;
    if (n > PATTERN_MAX) return false;
    const copy = bufferAt(this.space, at, n);
    for (let v = 0; v < PATTERN_VARIANTS; v++)
      if (!this.differs(copy, 0, v, TELLING_BYTES) || this.lastAgree(copy, v, n)) return true;
    return false;
  }

  /** Compares all runs, at the end of a batch. */
  settle(): void {
    for (let i = 0; i < this.opened; i++) this.check(this.open[i]);
    this.opened = 0;
  }

  private check(run: number): void {
    const frames = this.runFrames[run];
    if (frames === 0) return;
    const c = (run / PATTERN_VARIANTS) | 0;
    const variant = run - c * PATTERN_VARIANTS;
    const n = this.patternBytes[c];
    const bytes = frames * n;
    const from = variant * AREA_STRIDE;
    const expected = variant * RUN_BYTES;
    const area = this.areas[c];
    const reference = this.references[c];
    if (area.compare(reference, expected, expected + bytes, from, from + bytes) !== 0)
      for (let f = 0; f < frames; f++) if (this.differs(area, from + f * n, variant, n)) this.corrupt++;
    this.runFrames[run] = 0;
    this.runEnd[run] = this.runStart[run]!;
  }

  private differs(copy: Buffer, at: number, variant: number, n: number): boolean {
    const p = variant * PATTERN_MAX;
    return copy.compare(this.pattern.bytes, p, p + n, at, at + n) !== 0;
  }

  private lastAgree(copy: Buffer, variant: number, n: number): boolean {
    const end = variant * PATTERN_MAX + n;
    return copy.compare(this.pattern.bytes, end - TELLING_BYTES, end, n - TELLING_BYTES, n) === 0;
  }

  private makeClass(bytes: number): number {
    const c = this.classes;
    if (c >= this.maxClasses) return -1;
    if (c === this.areas.length && !this.makeArea()) return -1;
    const n = bytes - STAMP_BYTES;
    const capacity = n === 0 ? RUN_FRAMES : Math.min(RUN_FRAMES, Math.floor(RUN_BYTES / n));
    this.patternBytes[c] = n;
    this.capacity[c] = capacity;
    for (let v = 0; v < PATTERN_VARIANTS; v++) {
      const run = c * PATTERN_VARIANTS + v;
      this.runStart[run] = this.areaAt[c] + v * AREA_STRIDE;
      this.runEnd[run] = this.runStart[run]!;
      this.runFrames[run] = 0;
      const one = this.pattern.bytes.subarray(v * PATTERN_MAX, v * PATTERN_MAX + n);
      for (let f = 0; f < capacity; f++) this.references[c].set(one, v * RUN_BYTES + f * n);
    }
    this.classOf[bytes] = c;
    this.classes = c + 1;
    return c;
  }

  private makeArea(): boolean {
    const c = this.areas.length;
    // eslint-disable-next-line no-restricted-syntax -- once for each length of payload
    try {
      this.areaAt[c] = this.space.mapPrivate(AREA_BYTES);
    } catch {
      // The address space is full: the lengths that we have keep their runs, others do without.
      this.maxClasses = c;
      return false;
    }
    this.areas.push(bufferAt(this.space, this.areaAt[c], AREA_BYTES));
    this.references.push(Buffer.alloc(RUN_BYTES * PATTERN_VARIANTS));
    return true;
  }
}

const bufferAt = (space: PrivateMemory, at: number, bytes: number): Buffer =>
  Buffer.from(space.mem.u8.buffer as ArrayBuffer, at, bytes);
