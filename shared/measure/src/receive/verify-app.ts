/** The application of a measured run: takes each frame's payload into private memory and proves that it is the right one.
 *
 *  Every frame that it is handed counts in frames. Of these, corrupt, duplicate and foreign are not good ones; a frame
 *  whose stamp is wrong is not known by sequence, so it is corrupt and also missing. */
import { slots, type CounterBlock, type Mem, type PrivateMemory, recordLatency } from '@grantline/machine';
import { APP_COUNTERS } from '@grantline/observe';
import { ETH_BYTES, TCP_MIN_FRAME, IP_BYTES, stampCheck, TCP_TS_BYTES, UDP_BYTES } from '@grantline/frames';
import * as frames from '@grantline/frames';
import { FlowTracker } from './flow-tracker.js';
import type { FrameApp, PieceList } from './frame-app.js';
import { MAX_PAYLOAD, PatternChecker } from './pattern-checker.js';

// Local, so that the engine folds them into the code: see flow-templates.ts.
const { PATTERN_SUMS, PATTERN_VARIANTS } = frames;
const { STAMP_BYTES, STAMP_CHECK, STAMP_SEQ, STAMP_TIME } = frames;
const C = slots(APP_COUNTERS);

export interface VerifyRun {
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
