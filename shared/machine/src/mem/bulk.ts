/** Work over many bytes of an address space: sums, comparisons, copies. Over an AddressSpace it is done by a WebAssembly
 *  module whose memory the space is, 16 bytes to an instruction: docs/adr/0018. Over a plain buffer, as tests and tools have,
 *  by the engine's own loops, with the same results. */
import { bulkModule } from './bulk-code.js';

/** All places are byte offsets, of any alignment. Nothing is checked but the end of the memory. */
export interface Bulk {
  /** The Internet checksum's sum in the machine's byte order, carries added in: 1 to 65535, 0 only when all bytes are 0.
   *  A last odd byte counts as if a zero followed. Ranges of at most 128 KiB. */
  sum(at: number, bytes: number): number;
  /** @returns 1 when the two ranges are equal, else 0 */
  same(a: number, b: number, bytes: number): number;
  /** Copies between ranges that do not overlap; for some hundred bytes quicker than copyWithin, which has a call to pay. */
  copy(to: number, from: number, bytes: number): void;
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
  };
}
