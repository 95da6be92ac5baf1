/** Counters of one thing (a vif, a queue, a process): private while counting, committed to shared memory once per batch.
 *
 *  Hot code adds to `v[slot]`; `commit` copies all of them to the counter file in one go, between two bumps of a
 *  sequence word, so that a reader in another process gets values that belong together. */
import type { Mem } from '../mem/address-space.js';
import type { Declared, Layout } from './declare.js';

/** Slot numbers by name: `const C = slots(BRIDGE_COUNTERS)`, then `block.v[C.forwarded]++`. */
export function slots<D extends Declared>(declared: D): { readonly [K in keyof D['counters']]: number };
export function slots<const N extends readonly string[]>(names: N): { readonly [K in N[number]]: number };
export function slots(of: Layout | readonly string[]): Record<string, number> {
  return Object.fromEntries(('names' in of ? of.names : of).map((name, i) => [name, i]));
}

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
