/** What the engine compiles well in WebAssembly only, over an address space: sums, comparisons and copies of many bytes, 16 to an
 *  instruction (docs/adr/0018), and atomic operations on one word, which are an instruction there and a call by `Atomics`
 *  (docs/adr/0023). Over an AddressSpace it is done by a module whose memory the space is. Over a plain buffer, as tests and
 *  tools have, by the engine's own means, with the same results. */

/** All places are byte offsets, of any alignment. Nothing is checked but the end of the memory. */
export interface Bulk {
  /** The Internet checksum's sum in the machine's byte order, carries added in: 1 to 65535, 0 only when all bytes are 0.
   *  A last odd byte counts as if a zero followed. Ranges of at most 128 KiB. */
  sum(at: number, bytes: number): number;
  /** @returns 1 when the two ranges are equal, else 0 */
  same(a: number, b: number, bytes: number): number;
  /** Copies between ranges that do not overlap; below some thousand bytes quicker than copyWithin, which has a call to pay. */
  copy(to: number, from: number, bytes: number): void;
  /** Copies as `copy`, and compares in the same pass what it copies: what stands at `to` was compared, whoever writes to `from` meanwhile.
   *  @returns 1 when all of it is as at `expected`, else 0 */
  take(to: number, from: number, expected: number, bytes: number): number;
  /** Stores `value` into the word where it is `expected`. As Atomics.compareExchange on an Int32Array, as are the next two: sequentially
   *  consistent. `at`, in bytes, is a multiple of 4. @returns the word as it was, signed */
  cas32(at: number, expected: number, value: number): number;
  /** Clears the bits that are not in `mask`. @returns the word as it was, signed */
  and32(at: number, mask: number): number;
  store32(at: number, value: number): void;
}

const WASM_PAGE = 65536;

// Node's types leave WebAssembly to those of the browser; this is what is used here.
interface WasmMemory {
  readonly buffer: ArrayBuffer;
}
declare const WebAssembly: {
  Memory: new (limits: { initial: number; maximum: number }) => WasmMemory;
  Module: new (code: Uint8Array) => object;
  Instance: new (module: object, imports: { m: { m: WasmMemory } }) => { readonly exports: unknown };
};

/** A stretch of addresses that WebAssembly can reach, and the functions over it. @param bytes size, rounded up to 64 KiB */
export function wasmMemory(bytes: number): { buffer: ArrayBuffer; bulk: Bulk } {
  const pages = Math.ceil(bytes / WASM_PAGE);
  const memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
  const instance = new WebAssembly.Instance(new WebAssembly.Module(bulkModule(pages)), { m: { m: memory } });
  return { buffer: memory.buffer, bulk: instance.exports as Bulk };
}

/** The same over any buffer. */
export function plainBulk(u8: Uint8Array): Bulk {
  const all = Buffer.from(u8.buffer as ArrayBuffer, u8.byteOffset, u8.length);
  const i32 = new Int32Array(u8.buffer, u8.byteOffset, u8.length >> 2);
  return {
    sum(at, bytes) {
      let sum = 0;
      const even = at + (bytes & ~1);
      for (let i = at; i < even; i += 2) sum += u8[i] | (u8[i + 1] << 8);
      if ((bytes & 1) !== 0) sum += u8[even];
      const folded = sum % 65535;
      return folded === 0 && sum !== 0 ? 65535 : folded;
    },
    same: (a, b, bytes) => (all.compare(all, a, a + bytes, b, b + bytes) === 0 ? 1 : 0),
    copy: (to, from, bytes) => void u8.copyWithin(to, from, from + bytes),
    take(to, from, expected, bytes) {
      u8.copyWithin(to, from, from + bytes);
      return this.same(to, expected, bytes);
    },
    cas32: (at, expected, value) => Atomics.compareExchange(i32, at >> 2, expected, value),
    and32: (at, mask) => Atomics.and(i32, at >> 2, mask),
    store32: (at, value) => void Atomics.store(i32, at >> 2, value),
  };
}

// The machine code: a WebAssembly module of seven functions over one imported memory, with 128-bit SIMD. Put together here,
// instruction by instruction, so that what runs is what can be read.
// Sources: WebAssembly core specification 2.0, sections 5.4 (instructions) and 5.5 (modules); the threads proposal for atomic
// instructions, which also lets them work on memory that is not shared between threads.

type Code = readonly (number | Code)[];

const I32 = 0x7f;
const V128 = 0x7b;

/** Unsigned LEB128. */
function leb(n: number): number[] {
  const out: number[] = [];
  for (; n > 127; n >>>= 7) out.push((n & 127) | 128);
  out.push(n);
  return out;
}

/** Signed LEB128 of a small number. */
function sleb(n: number): number[] {
  const out: number[] = [];
  for (; n < -64 || n > 63; n >>= 7) out.push((n & 127) | 128);
  out.push(n & 127);
  return out;
}

function flatten(code: Code, out: number[] = []): number[] {
  for (const c of code) {
    if (typeof c === 'number') out.push(c);
    else flatten(c, out);
  }
  return out;
}

const get = (local: number): Code => [0x20, local];
const set = (local: number): Code => [0x21, local];
const tee = (local: number): Code => [0x22, local];
const num = (n: number): Code => [0x41, sleb(n)];
const simd = (op: number): Code => [0xfd, leb(op)];
const add: Code = [0x6a];
const sub: Code = [0x6b];
const or: Code = [0x72];
const xor: Code = [0x73];
const and: Code = [0x71];
const shr: Code = [0x76];
const load8 = (from: Code): Code => [from, 0x2d, 0, 0];
const load16 = (from: Code): Code => [from, 0x2f, 0, 0];
const loadV = (from: number, offset = 0): Code => [get(from), simd(0), 0, leb(offset)];
/** The rest of the vector is 0. */
const load32V = (from: number): Code => [get(from), simd(92), 0, 0];
const load64V = (from: number): Code => [get(from), simd(93), 0, 0];
const storeV = (to: number, value: Code, offset = 0): Code => [get(to), value, simd(11), 0, leb(offset)];
const xorV: Code = simd(81);
const orV: Code = simd(80);
const anyV: Code = simd(83);
const addV: Code = simd(174);
const laneV = (lane: number): Code => [simd(27), lane];
/** Adds neighbouring unsigned 16-bit lanes into 32-bit lanes. */
const pairsV: Code = simd(127);
const when = (condition: Code, body: Code): Code => [condition, 0x04, 0x40, body, 0x0b];
const ret = (value: Code): Code => [value, 0x0f];
const inc = (local: number, by: number): Code => [get(local), num(by), add, set(local)];
/** Runs `body`, which advances `at` by `step`, as often as a step fits below `end`. */
const steps = (at: number, step: number, end: number, body: Code): Code =>
  when(
    [get(at), num(step), add, get(end), 0x4d],
    [0x03, 0x40, body, get(at), num(step), add, get(end), 0x4d, 0x0d, 0, 0x0b],
  );

/** A function: its type's index, how many locals of which type, its body. */
const func = (locals: readonly (readonly [number, number])[], body: Code): number[] => {
  const code = flatten([locals.length, locals, body, 0x0b]);
  return [...leb(code.length), ...code];
};

/** sum(at, bytes): the 16-bit words as the machine reads them, carries added in; a last odd byte counts as a low one.
 *  Lanes of 32 bits take 65535 additions of a word. */
function sumCode(): number[] {
  const [at, bytes, end, s, a, b] = [0, 1, 2, 3, 4, 5];
  const more = (acc: number, value: Code): Code => [get(acc), value, pairsV, addV, set(acc)];
  const fold: Code = [get(s), num(0xffff), and, get(s), num(16), shr, add, set(s)];
  const tail = (bit: number, body: Code): Code => when([get(bytes), num(bit), and], [body, inc(at, bit)]);
  return func(
    [
      [2, I32],
      [2, V128],
    ],
    [
      [get(at), get(bytes), add, set(end)],
      steps(at, 64, end, [
        more(a, loadV(at)),
        more(b, loadV(at, 16)),
        more(a, loadV(at, 32)),
        more(b, loadV(at, 48)),
        inc(at, 64),
      ]),
      steps(at, 16, end, [more(a, loadV(at)), inc(at, 16)]),
      tail(8, more(a, load64V(at))),
      tail(4, more(b, load32V(at))),
      tail(2, [load16(get(at)), set(s)]),
      tail(1, [get(s), load8(get(at)), add, set(s)]),
      [get(a), get(b), addV, set(a)],
      // A lane may be near 2^32: halves are added, not lanes.
      [0, 1, 2, 3].map((l): Code => [
        get(a),
        laneV(l),
        tee(end),
        num(0xffff),
        and,
        get(end),
        num(16),
        shr,
        add,
        get(s),
        add,
        set(s),
      ]),
      fold,
      fold,
      get(s),
    ],
  );
}

/** same(a, b, bytes): 1 when the two ranges are equal. */
function sameCode(): number[] {
  const [a, b, bytes, end] = [0, 1, 2, 3];
  const differ = (offset: number): Code => [loadV(a, offset), loadV(b, offset), xorV];
  const no = ret(num(0));
  return func(
    [[1, I32]],
    [
      [get(a), get(bytes), add, set(end)],
      steps(a, 64, end, [
        when([differ(0), differ(16), orV, differ(32), differ(48), orV, orV, anyV], no),
        inc(a, 64),
        inc(b, 64),
      ]),
      steps(a, 16, end, [when([differ(0), anyV], no), inc(a, 16), inc(b, 16)]),
      steps(a, 1, end, [when([load8(get(a)), load8(get(b)), 0x47], no), inc(a, 1), inc(b, 1)]),
      num(1),
    ],
  );
}

/** Of `copy` and `take`, for ranges of 16 bytes or more: 64 at a time, then 16, then the last 16, of which some may have been done.
 *  @param move does 16 bytes, so many behind where the ranges are now; @param all the ranges */
const wide = (from: number, end: number, all: readonly number[], move: (offset: number) => Code): Code => [
  steps(from, 64, end, [[0, 16, 32, 48].map(move), all.map((at) => inc(at, 64))]),
  steps(from, 16, end, [move(0), all.map((at) => inc(at, 16))]),
];

/** copy(to, from, bytes): upwards; ranges that overlap are the caller's mistake. */
function copyCode(): number[] {
  const [to, from, bytes, end] = [0, 1, 2, 3];
  const tail = (bit: number, load: number, store: number): Code =>
    when([get(bytes), num(bit), and], [get(to), get(from), load, 0, 0, store, 0, 0, inc(from, bit), inc(to, bit)]);
  return func(
    [[1, I32]],
    [
      [get(from), get(bytes), add, set(end)],
      when(
        [get(bytes), num(16), 0x4f],
        [
          wide(from, end, [from, to], (offset) => storeV(to, loadV(from, offset), offset)),
          // Back to where 16 bytes are left.
          [get(to), get(end), get(from), sub, add, num(16), sub, set(to)],
          storeV(to, [get(end), num(16), sub, simd(0), 0, 0]),
          [0x0f],
        ],
      ),
      tail(8, 0x29, 0x37),
      tail(4, 0x28, 0x36),
      tail(2, 0x2f, 0x3b),
      tail(1, 0x2d, 0x3a),
    ],
  );
}

/** take(to, from, expected, bytes). */
function takeCode(): number[] {
  const [to, from, expected, bytes, end, odd, differ, x] = [0, 1, 2, 3, 4, 5, 6, 7];
  const move = (offset: number): Code => [
    [loadV(from, offset), set(x)],
    storeV(to, get(x), offset),
    [get(x), loadV(expected, offset), xorV, get(differ), orV, set(differ)],
  ];
  const back = (at: number): Code => [get(at), get(end), get(from), sub, add, num(16), sub, set(at)];
  return func(
    [
      [2, I32],
      [2, V128],
    ],
    [
      [get(from), get(bytes), add, set(end)],
      when(
        [get(bytes), num(16), 0x4f],
        [
          wide(from, end, [from, to, expected], move),
          back(to),
          back(expected),
          [get(end), num(16), sub, set(from)],
          move(0),
          ret([get(differ), anyV, 0x45]),
        ],
      ),
      steps(from, 1, end, [
        [get(to), load8(get(from)), tee(bytes), 0x3a, 0, 0],
        [get(bytes), load8(get(expected)), xor, get(odd), or, set(odd)],
        [from, to, expected].map((at) => inc(at, 1)),
      ]),
      [get(odd), 0x45],
    ],
  );
}

/** An atomic instruction on the word at the first parameter, with the others as its operands. */
const atomicCode = (op: number, parameters: number): number[] =>
  func([], [Array.from({ length: parameters }, (_, i) => get(i)), 0xfe, op, 2, 0]);

const section = (id: number, body: Code): number[] => {
  const bytes = flatten(body);
  return [id, ...leb(bytes.length), ...bytes];
};
const text = (s: string): number[] => [s.length, ...Buffer.from(s)];

/** The module; imports `m.m`, a memory. @param pages of 64 KiB that the memory has */
function bulkModule(pages: number): Uint8Array<ArrayBuffer> {
  const i = (n: number): number[] => new Array<number>(n).fill(I32);
  const type = (takes: number, gives: number): Code => [0x60, takes, i(takes), gives, i(gives)];
  const functions = {
    sum: sumCode(),
    same: sameCode(),
    copy: copyCode(),
    take: takeCode(),
    cas32: atomicCode(0x48, 3),
    and32: atomicCode(0x2c, 2),
    store32: atomicCode(0x17, 2),
  };
  const names = Object.keys(functions);
  return new Uint8Array([
    ...[0, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(1, [5, type(2, 1), type(3, 1), type(3, 0), type(4, 1), type(2, 0)]),
    ...section(2, [1, text('m'), text('m'), 2, 1, leb(pages), leb(pages)]),
    ...section(3, [names.length, 0, 1, 2, 3, 1, 0, 4]),
    ...section(7, [names.length, names.map((n, at) => [text(n), 0, at])]),
    ...section(10, [names.length, Object.values(functions)]),
  ]);
}
