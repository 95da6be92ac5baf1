/** A service's counter file, shared memory as all that services share: a JSON table of contents and the blocks it names.
 *
 *    0        4         8            16              65536
 *    | magic  | version | toc bytes  | toc (JSON)    | blocks ...
 *
 *  Look at it from a shell, where FILE is a descriptor of the hypervisor's (ls -l /proc/PID/fd):
 *  tail -c +17 /proc/PID/fd/FILE | tr -d '\0' | head -c 4000
 *
 *  shared/observe/src/counters/counter-reader.ts reads it from outside. */
import type { AddressSpace } from '../mem/address-space.js';
import { CounterBlock } from './counter-block.js';
import type { Layout } from './declare.js';

export const COUNTER_MAGIC = 0x746e6367; // "gcnt"
const VERSION = 1;
export const TOC_AT = 16;
export const BLOCKS_AT = 65536;
export const COUNTER_FILE_BYTES = 4 * 65536;

export interface BlockSnapshot {
  kind: string;
  labels: Record<string, string>;
  values: Record<string, number>;
}

export interface TocEntry {
  kind: string;
  labels: Record<string, string>;
  names: readonly string[];
  at: number;
}

export class CounterFile {
  private readonly space: AddressSpace;
  private readonly base: number;
  private readonly toc: TocEntry[] = [];
  private readonly blocks: CounterBlock[] = [];
  private used = BLOCKS_AT;

  /** @param fd COUNTER_FILE_BYTES of zeros; closed here */
  constructor(space: AddressSpace, fd: number) {
    this.space = space;
    this.base = space.mapWhole(fd, COUNTER_FILE_BYTES, true);
    space.mem.u32[this.base >> 2] = COUNTER_MAGIC;
    space.mem.u32[(this.base >> 2) + 1] = VERSION;
  }

  /** The block of that kind and those labels: made when new, else the one that there is.
   *  @throws RangeError when there is no room for it; then nothing is left of it */
  block(layout: Layout, labels: Record<string, string> = {}): CounterBlock {
    const { kind, names } = layout;
    const found = this.blocks.find((b) => b.kind === kind && sameLabels(b.labels, labels));
    if (found) return found;
    const bytes = Math.ceil((8 + names.length * 8) / 64) * 64;
    if (this.used + bytes > COUNTER_FILE_BYTES) throw new RangeError('the counter file is full');
    const entry = { kind, labels, names, at: this.used };
    this.writeToc([...this.toc, entry]);
    this.toc.push(entry);
    const block = new CounterBlock(this.space.mem, this.base + this.used, layout, labels);
    this.blocks.push(block);
    this.used += bytes;
    return block;
  }

  snapshot(): BlockSnapshot[] {
    return this.blocks.map((b) => ({ kind: b.kind, labels: { ...b.labels }, values: b.read() }));
  }

  /** As `snapshot`, but counted since the blocks were made: a reset does not show. */
  totals(): BlockSnapshot[] {
    return this.blocks.map((b) => ({ kind: b.kind, labels: { ...b.labels }, values: b.total() }));
  }

  /** All blocks back to zero, for a new run. */
  reset(): void {
    for (const b of this.blocks) b.reset();
  }

  private writeToc(toc: readonly TocEntry[]): void {
    const text = Buffer.from(JSON.stringify(toc));
    if (text.length > BLOCKS_AT - TOC_AT) throw new RangeError('the table of contents of the counter file is full');
    this.space.mem.u8.set(text, this.base + TOC_AT);
    this.space.mem.u32[(this.base >> 2) + 2] = text.length;
  }
}

function sameLabels(a: Readonly<Record<string, string>>, b: Record<string, string>): boolean {
  const keys = Object.keys(a);
  return keys.length === Object.keys(b).length && keys.every((k) => a[k] === b[k]);
}
