/** Free-running u32 indices. Only these helpers know how they wrap; nothing else compares indices. */

declare const brand: unique symbol;
/** A free-running u32 index: never masked until a slot is touched, never compared with <. */
export type RingIdx = number & { readonly [brand]: 'RingIdx' };

export const ringIdx = (n: number): RingIdx => (n >>> 0) as RingIdx;
export const idxAdd = (i: RingIdx, n: number): RingIdx => ((i + n) >>> 0) as RingIdx;
/** Slots from `from` on to `to`, 0 to 2^32-1. */
export const idxDist = (from: RingIdx, to: RingIdx): number => (to - from) >>> 0;
/** True when moving a producer index from oldProd to newProd passed eventIdx, i.e. the peer asked to be notified. */
export const passed = (eventIdx: RingIdx, oldProd: RingIdx, newProd: RingIdx): boolean =>
  (newProd - eventIdx) >>> 0 < (newProd - oldProd) >>> 0;

/** @throws RangeError when n is no power of two */
export function assertPow2(n: number): void {
  if (!Number.isInteger(n) || n < 1 || (n & (n - 1)) !== 0) throw new RangeError(`${n} is not a power of two`);
}
