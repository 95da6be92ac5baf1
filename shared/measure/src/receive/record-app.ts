/** The application of a recorded run (replay): keeps whole frames, byte for byte, for the control side to look at. */
import { createHash } from 'node:crypto';
import { slots, type CounterBlock, type AddressSpace, type Mem } from '@grantline/machine';
import {
  RECORD_CHUNK_BYTES as CHUNK_BYTES,
  RECORD_CHUNKS as CHUNKS,
  RECORD_LENGTH_BYTES as LENGTH_BYTES,
  APP_COUNTERS,
} from '@grantline/observe';
import type { FrameApp, PieceList } from './frame-app.js';

const C = slots(APP_COUNTERS);

/** What this needs of AddressSpace: memory that comes and goes. */
export type RecordMemory = Pick<AddressSpace, 'mem' | 'mapPrivate' | 'mapPrivateAt' | 'unmap'>;

export class RecordApp implements FrameApp {
  readonly wantsRaw = true;
  /** Frames that there was no room for: neither kept nor counted as frames. */
  notKept = 0;
  private readonly space: RecordMemory;
  private readonly mem: Mem;
  private readonly counters: CounterBlock;
  private readonly chunkAt = new Int32Array(CHUNKS);
  private readonly chunkUsed = new Int32Array(CHUNKS);
  private chunks = 0;
  /** Chunks that have an address; it is theirs for good. */
  private reserved = 0;
  private current = -1;
  private kept = 0;
  private keptBytes = 0;

  /** Takes no memory before the first frame. */
  constructor(space: RecordMemory, counters: CounterBlock) {
    this.space = space;
    this.mem = space.mem;
    this.counters = counters;
  }

  /** Forgets all frames; keeps the memory. */
  reset(): void {
    this.chunkUsed.fill(0);
    this.current = this.chunks > 0 ? 0 : -1;
    this.kept = 0;
    this.keptBytes = 0;
    this.notKept = 0;
    this.counters.reset();
  }

  /** Forgets all frames, and gives the memory back. Not while a run is recorded. */
  forget(): void {
    for (let i = 0; i < this.chunks; i++) this.space.unmap(this.chunkAt[i], CHUNK_BYTES);
    this.chunks = 0;
    this.chunkUsed.fill(0);
    this.current = -1;
    this.kept = 0;
    this.keptBytes = 0;
    this.notKept = 0;
  }

  /** Frames kept. */
  get count(): number {
    return this.kept;
  }

  /** Their bytes. */
  get bytes(): number {
    return this.keptBytes;
  }

  begin(): void {}

  segment(): void {}

  raw(pieces: PieceList, from: number, to: number): void {
    const { off, len } = pieces;
    const { u8, u32 } = this.mem;
    let bytes = 0;
    for (let i = from; i < to; i++) bytes += len[i];
    const room = LENGTH_BYTES + ((bytes + 3) & ~3);
    const chunk = this.chunkFor(room);
    if (chunk < 0) {
      this.notKept++;
      return;
    }
    let at = this.chunkAt[chunk] + this.chunkUsed[chunk];
    u32[at >> 2] = bytes;
    at += LENGTH_BYTES;
    for (let i = from; i < to; i++) {
      u8.copyWithin(at, off[i], off[i] + len[i]);
      at += len[i];
    }
    this.chunkUsed[chunk] += room;
    this.kept++;
    this.keptBytes += bytes;
    const v = this.counters.v;
    v[C.frames]++;
    v[C.bytes] += bytes;
    v[C.payloadBytes] += bytes;
    v[C.copies] += to - from;
  }

  end(): void {
    this.counters.commit();
  }

  /** Copies of the frames in order of arrival. For the control side. */
  *frames(): Generator<Uint8Array> {
    const { u8, u32 } = this.mem;
    for (let c = 0; c < this.chunks; c++)
      for (let used = 0; used < this.chunkUsed[c];) {
        const at = this.chunkAt[c] + used;
        const bytes = u32[at >> 2];
        yield u8.slice(at + LENGTH_BYTES, at + LENGTH_BYTES + bytes);
        used += LENGTH_BYTES + ((bytes + 3) & ~3);
      }
  }

  /** The digest of all frames kept, whatever their order. */
  digest(): string {
    const sum = new FrameDigest();
    for (const frame of this.frames()) sum.add(frame);
    return sum.value();
  }

  private chunkFor(room: number): number {
    if (this.current >= 0 && this.chunkUsed[this.current] + room <= CHUNK_BYTES) return this.current;
    const next = this.current + 1;
    if (next === CHUNKS || (next === this.chunks && !this.grow())) return -1;
    this.current = next;
    return next;
  }

  /** Allocates; once for every 4 MiB. */
  private grow(): boolean {
    try {
      if (this.chunks < this.reserved) this.space.mapPrivateAt(this.chunkAt[this.chunks], CHUNK_BYTES);
      else {
        this.chunkAt[this.reserved] = this.space.mapPrivate(CHUNK_BYTES);
        this.reserved++;
      }
    } catch {
      return false;
    }
    this.chunks++;
    return true;
  }
}

/** The sum of the SHA-256 of each frame, as eight words modulo 2^32: equal for equal sets of frames in any order. */
export class FrameDigest {
  private readonly words = new Uint32Array(8);

  add(frame: Uint8Array): void {
    const hash = createHash('sha256').update(frame).digest();
    for (let i = 0; i < 8; i++) this.words[i] = this.words[i] + hash.readUInt32BE(i * 4);
  }

  /** 64 hexadecimal digits. */
  value(): string {
    return Array.from(this.words, (word) => word.toString(16).padStart(8, '0')).join('');
  }
}
