/** A service's counters and the file that they are in, shared memory as all that services share: a JSON table of contents and the
 *  blocks it names.
 *
 *    0        4         8            16              65536
 *    | magic  | version | toc bytes  | toc (JSON)    | blocks ...
 *
 *  Look at it from a shell, where FILE is a descriptor of the hypervisor's (ls -l /proc/PID/fd):
 *  tail -c +17 /proc/PID/fd/FILE | tr -d '\0' | head -c 4000
 *
 *  shared/observe/src/counters/counter-reader.ts reads it from outside. */
import type { Mem, AddressSpace } from '../mem/address-space.js';
import type { Declared, Layout } from './declare.js';

/** Slot numbers by name: `const C = slots(BRIDGE_COUNTERS)`, then `block.v[C.forwarded]++`. */
export function slots<D extends Declared>(declared: D): { readonly [K in keyof D['counters']]: number };
export function slots<const N extends readonly string[]>(names: N): { readonly [K in N[number]]: number };
export function slots(of: Layout | readonly string[]): Record<string, number> {
  return Object.fromEntries(('names' in of ? of.names : of).map((name, i) => [name, i]));
}

/** Counters of one thing (a vif, a queue, a process): private while counting, committed to shared memory once per batch.
 *
 *  Hot code adds to `v[slot]`; `commit` copies all of them to the counter file in one go, between two bumps of a
 *  sequence word, so that a reader in another process gets values that belong together. */
export class CounterBlock {
  readonly kind: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly names: readonly string[];
  /** The private values. */
  readonly v: Float64Array;
  /** What resets took out of `v` so far. */
  private readonly before: Float64Array;
  private readonly shared: Float64Array;
  private readonly i32: Int32Array;
  private readonly seq: number;

  /** @param base byte offset of the block in the counter file's mapping: 8 bytes of sequence, then the values */
  constructor(mem: Mem, base: number, { kind, names }: Layout, labels: Record<string, string> = {}) {
    this.kind = kind;
    this.labels = labels;
    this.names = names;
    this.v = new Float64Array(names.length);
    this.before = new Float64Array(names.length);
    this.shared = mem.f64.subarray((base >> 3) + 1, (base >> 3) + 1 + names.length);
    this.i32 = mem.i32;
    this.seq = base >> 2;
  }

  commit(): void {
    Atomics.add(this.i32, this.seq, 1);
    this.shared.set(this.v);
    Atomics.add(this.i32, this.seq, 1);
  }

  /** Back to zero, for a new run; `total` goes on. */
  reset(): void {
    for (let i = 0; i < this.v.length; i++) this.before[i] += this.v[i];
    this.v.fill(0);
    this.commit();
  }

  /** What has been committed, by name. */
  read(): Record<string, number> {
    const out: Record<string, number> = {};
    for (;;) {
      const before = Atomics.load(this.i32, this.seq);
      for (let i = 0; i < this.names.length; i++) out[this.names[i]] = this.shared[i];
      if ((before & 1) === 0 && Atomics.load(this.i32, this.seq) === before) return out;
    }
  }

  /** What has been committed since the block was made, resets or not: what Prometheus is shown, which takes a counter
   *  that shrinks for a service that was started again. */
  total(): Record<string, number> {
    const out = this.read();
    this.names.forEach((name, i) => (out[name] += this.before[i]));
    return out;
  }
}

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
