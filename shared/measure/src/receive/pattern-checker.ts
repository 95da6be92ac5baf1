/** Receives payloads into private memory, packed so that their patterns can be checked many at a time.
 *
 *  Payloads of one length and one pattern variant are put behind each other, each over the stamp of the one before, so
 *  that their patterns form one run. A run is compared with a reference (the pattern, repeated) by one native compare
 *  of up to RUN_BYTES. Runs by variant need no order among the frames: loss, reordering and coalescing do not make
 *  them shorter. */
import * as frames from '@grantline/frames';
import { Pattern } from '@grantline/frames';
import type { PrivateMemory } from '@grantline/machine';

// Local, so that the engine folds them into the code: see flow-templates.ts.
const { PATTERN_MAX, PATTERN_VARIANTS } = frames;
const { STAMP_BYTES } = frames;
/** Longest run. Longer ones cost less per compare and more of the cache. */
const RUN_BYTES = 24576;
const RUN_FRAMES = 256;
const AREA_STRIDE = RUN_BYTES + 64;
const AREA_BYTES = AREA_STRIDE * PATTERN_VARIANTS;
/** Payload lengths that get runs; frames of further lengths are compared one by one. */
export const MAX_CLASSES = 64;
/** Longest payload that a generator sends. */
export const MAX_PAYLOAD = PATTERN_MAX + STAMP_BYTES;
/** Longest payload that can be received at all: more than an IP packet holds. */
const SINGLE_BYTES = 65536;
/** Fewer bytes of an alien pattern than these could agree with ours by chance. */
const TELLING_BYTES = 16;

export class PatternChecker {
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
    for (const bytes of payloads) if (bytes >= STAMP_BYTES && bytes <= MAX_PAYLOAD) this.placeFor(bytes, 0);
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
