/** Plain memory in place of a domain's, and a counter block in it. */
import { CounterBlock } from '../src/counters/counter-file.js';
import type { Layout } from '../src/counters/declare.js';
import { memOver, type Mem, type PrivateMemory } from '../src/mem/address-space.js';

/** An address space of plain memory. */
export class TestSpace implements PrivateMemory {
  readonly mem: Mem;
  private next = 4096;

  constructor(bytes = 24 << 20) {
    this.mem = memOver(new ArrayBuffer(bytes));
  }

  mapPrivate(bytes: number): number {
    const at = this.next;
    const size = Math.ceil(bytes / 4096) * 4096;
    if (at + size > this.mem.u8.length) throw new RangeError('full');
    this.next = at + size;
    return at;
  }

  unmap(): void {}

  mapPrivateAt(offset: number, bytes: number): void {
    this.mem.u8.fill(0, offset, offset + bytes);
  }
}

export const block = (space: TestSpace, layout: Layout): CounterBlock =>
  new CounterBlock(space.mem, space.mapPrivate(8 + layout.names.length * 8), layout);
