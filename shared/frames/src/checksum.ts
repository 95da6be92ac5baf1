/** The Internet checksum. Source: RFC 1071; incremental update RFC 1624.
 *
 *  A sum is a plain number below 2^32 that has not been folded to 16 bits yet; sums of parts can be added as long as
 *  each part starts at an even offset. The sum of a part at an odd offset is `swapSum`ped first (RFC 1071, 2(B)).
 *
 *  Over whole frames it is summed as hardware does it, 16 bytes at a time in the machine's byte order: `nativeSum`. A one's
 *  complement sum does not care for byte order: that of little-endian words is the swapped sum, which is right again when it
 *  is stored as a little-endian word. */
import type { Mem } from '@grantline/machine';

/** Folds a sum (below 2^32) to 16 bits with the carries added in. */
export function foldSum(sum: number): number {
  const once = (sum >>> 16) + (sum & 0xffff);
  return (once >>> 16) + (once & 0xffff);
}

/** The folded sum of bytes that stand at an odd offset of the whole. */
export function swapSum(sum: number): number {
  return swap16(foldSum(sum));
}

/** Sum of the big-endian 16-bit words of a range, folded; an odd last byte counts as a high one. */
export function sumOf(mem: Mem, at: number, bytes: number): number {
  const u8 = mem.u8;
  const even = at + (bytes & ~1);
  let sum = 0;
  for (let i = at; i < even; i += 2) sum += (u8[i] << 8) | u8[i + 1];
  if ((bytes & 1) !== 0) sum += u8[even] << 8;
  return foldSum(sum);
}

/** The checksum of a range: what stands in the header when the field itself was 0, and 0 when the range with its field
 *  is right. @param initial a sum to begin with, as the pseudo header's */
export function internetChecksum(mem: Mem, at: number, bytes: number, initial = 0): number {
  return ~foldSum(sumOf(mem, at, bytes) + initial) & 0xffff;
}

/** Sum of the pseudo header in front of UDP and TCP. @param bytes length of header and payload */
export function pseudoSum(src: number, dst: number, protocol: number, bytes: number): number {
  return foldSum((src >>> 16) + (src & 0xffff) + (dst >>> 16) + (dst & 0xffff) + protocol + bytes);
}

/** The checksum after one 16-bit word has changed (RFC 1624, equation 3). */
export function updateChecksum(check: number, before: number, after: number): number {
  return ~foldSum((~check & 0xffff) + (~before & 0xffff) + after) & 0xffff;
}

/** Sum of a 32-bit number's two words. */
export const sum32 = (word: number): number => (word >>> 16) + (word & 0xffff);

/** Sum of a range in the machine's byte order, folded to 16 bits; sums of ranges may be added and folded again.
 *  @param at any byte offset @param bytes up to 128 KiB; an odd last byte counts as if a zero followed */
export function nativeSum(mem: Mem, at: number, bytes: number): number {
  return mem.bulk.sum(at, bytes);
}

/** A 16-bit number as the machine's byte order has it. */
export const swap16 = (n: number): number => ((n & 0xff) << 8) | (n >>> 8);

/** Folds a sum of several of `nativeSum`: 1 to 65535, and 0 only for 0. */
export function foldNative(sum: number): number {
  const folded = sum % 65535;
  return folded === 0 && sum !== 0 ? 65535 : folded;
}

/** Sum of the pseudo header, in the machine's byte order. @param addresses byte offset of both in the IPv4 header
 *  @param bytes length of header and payload */
export const nativePseudo = (mem: Mem, addresses: number, protocol: number, bytes: number): number =>
  nativeSum(mem, addresses, 8) + (protocol << 8) + swap16(bytes);

/** Fills in the checksum of TCP or UDP; its field holds the sum of the pseudo header. A computed 0 becomes 0xffff, as in Linux
 *  (skb_checksum_help): in UDP 0 means none (RFC 768), in TCP both are right.
 *  @param l4 byte offset of the header, even @param field of the checksum in it @param bytes length of header and payload */
export function fillChecksum(mem: Mem, l4: number, field: number, bytes: number): void {
  const sum = ~foldNative(nativeSum(mem, l4, bytes)) & 0xffff;
  mem.u16[(l4 + field) >> 1] = sum === 0 ? 0xffff : sum;
}

/** The same as `sumOf`, 16 bytes at a time: for more than a header. */
export function fastSum(mem: Mem, at: number, bytes: number): number {
  return swap16(mem.bulk.sum(at, bytes));
}
