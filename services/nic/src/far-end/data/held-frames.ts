/** Frames that the injector keeps: a bounded number of copies in private memory, in the order in which they came. */
import type { Mem, PrivateMemory } from '@grantline/machine';
import { HOLD_BYTES } from './generator.js';

/** Frames at most. */
export const HELD_FRAMES = 256;

export class HeldFrames {
  /** Slots in use, oldest first. */
  readonly list = new Int32Array(HELD_FRAMES);
  count = 0;
  /** By slot: bytes, when it is to go on, its flow, and whether it waits to be overtaken. */
  readonly bytes = new Int32Array(HELD_FRAMES);
  readonly dueNs = new Float64Array(HELD_FRAMES);
  readonly flow = new Int32Array(HELD_FRAMES);
  readonly waits = new Uint8Array(HELD_FRAMES);
  private readonly mem: Mem;
  private readonly base: number;
  private readonly free = Int32Array.from({ length: HELD_FRAMES }, (_, i) => i);
  private freeCount = HELD_FRAMES;

  constructor(space: PrivateMemory) {
    this.mem = space.mem;
    this.base = space.mapPrivate(HELD_FRAMES * HOLD_BYTES);
  }

  /** Byte offset of a slot. */
  at(slot: number): number {
    return this.base + slot * HOLD_BYTES;
  }

  /** Copies a frame, of one piece or two. @returns its slot, in no list yet; -1 when all are in use */
  copy(head: number, headBytes: number, body: number, bodyBytes: number): number {
    if (this.freeCount === 0) return -1;
    const slot = this.free[--this.freeCount];
    const at = this.at(slot);
    this.mem.u8.copyWithin(at, head, head + headBytes);
    if (bodyBytes > 0) this.mem.u8.copyWithin(at + headBytes, body, body + bodyBytes);
    this.bytes[slot] = headBytes + bodyBytes;
    return slot;
  }

  /** Puts a slot at the end of the list. */
  hold(slot: number, flow: number, dueNs: number, waits: boolean): void {
    this.list[this.count++] = slot;
    this.flow[slot] = flow;
    this.dueNs[slot] = dueNs;
    this.waits[slot] = waits ? 1 : 0;
  }

  /** Takes the i-th out of the list; its slot stays in use. */
  drop(i: number): void {
    this.list.copyWithin(i, i + 1, this.count);
    this.count--;
  }

  give(slot: number): void {
    this.free[this.freeCount++] = slot;
  }

  /** When the first is due; Infinity when none is held. */
  firstDueNs(): number {
    let due = Infinity;
    for (let i = 0; i < this.count; i++) due = Math.min(due, this.dueNs[this.list[i]]);
    return due;
  }
}
