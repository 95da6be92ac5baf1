/** The Internet checksum over whole frames, as hardware does it: 16 bytes at a time, in the machine's byte order.
 *
 *  A one's complement sum does not care for byte order (RFC 1071, 2(B)): summing little-endian words gives the swapped
 *  sum, which is right again when it is stored as a little-endian word. */
import type { Mem } from '@grantline/machine';

/** Sum of a range in the machine's byte order, folded to 16 bits; sums of ranges may be added and folded again.
 *  @param at any byte offset @param bytes up to 128 KiB; an odd last byte counts as if a zero followed */
export function nativeSum(mem: Mem, at: number, bytes: number): number {
  return mem.bulk.sum(at, bytes);
}

/** Folds a sum of several of `nativeSum`: 1 to 65535, and 0 only for 0. */
export function foldNative(sum: number): number {
  const folded = sum % 65535;
  return folded === 0 && sum !== 0 ? 65535 : folded;
}

/** The same as `sumOf` of checksum.ts, in network byte order: for headers that are read and written by DataView. */
export function fastSum(mem: Mem, at: number, bytes: number): number {
  const sum = mem.bulk.sum(at, bytes);
  return ((sum & 0xff) << 8) | (sum >>> 8);
}
