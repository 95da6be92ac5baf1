/** Deadlines: a binary heap that is driven by an owner that knows the time.
 *
 *  A thing stands in it once, at the earliest of its deadlines. Deadlines that move further away, as the retransmission
 *  timer does with every acknowledgement, are not moved in the heap: the thing comes up too early, looks, and goes back.
 *  So a busy connection touches the heap a few times a second and not for every segment. */

/** Something with a deadline. */
export abstract class Timed {
  /** Milliseconds of the stack's time; where it stands in the heap. Only the heap writes it. */
  dueMs = 0;
  /** Index in the heap, or -1. */
  slot = -1;
  /** Its time may have come. It has been taken out of the heap. */
  abstract expire(): void;
}

export class TimerHeap {
  private readonly heap: Timed[] = [];

  get count(): number {
    return this.heap.length;
  }

  /** When something may be due; Infinity when nothing waits. */
  get nextMs(): number {
    return this.heap.length === 0 ? Infinity : this.heap[0].dueMs;
  }

  /** Makes sure that a thing comes up at that time or earlier. */
  wake(thing: Timed, dueMs: number): void {
    if (thing.slot < 0) {
      thing.dueMs = dueMs;
      thing.slot = this.heap.length;
      this.heap.push(thing);
      this.up(thing.slot);
    } else if (dueMs < thing.dueMs) {
      thing.dueMs = dueMs;
      this.up(thing.slot);
    }
  }

  remove(thing: Timed): void {
    const slot = thing.slot;
    if (slot < 0) return;
    const last = this.heap.pop()!;
    thing.slot = -1;
    if (last === thing) return;
    this.heap[slot] = last;
    last.slot = slot;
    this.up(slot);
    this.down(last.slot);
  }

  /** Calls `expire` of everything due. What is put back for a time that has come already is called again. */
  run(nowMs: number): void {
    while (this.heap.length > 0 && this.heap[0].dueMs <= nowMs) {
      const thing = this.heap[0];
      this.remove(thing);
      thing.expire();
    }
  }

  private up(from: number): void {
    const heap = this.heap;
    const thing = heap[from];
    let at = from;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (heap[parent].dueMs <= thing.dueMs) break;
      heap[at] = heap[parent];
      heap[at].slot = at;
      at = parent;
    }
    heap[at] = thing;
    thing.slot = at;
  }

  private down(from: number): void {
    const heap = this.heap;
    const thing = heap[from];
    let at = from;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && heap[child + 1].dueMs < heap[child].dueMs) child++;
      if (heap[child].dueMs >= thing.dueMs) break;
      heap[at] = heap[child];
      heap[at].slot = at;
      at = child;
    }
    heap[at] = thing;
    thing.slot = at;
  }
}
