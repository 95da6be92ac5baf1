/** Sequence numbers, and times in ticks of 2^32: kept as signed 32-bit integers (small integers to the engine), compared
 *  by the sign of their distance. Source: RFC 9293, 3.4; RFC 7323, 5.2 for timestamps. */

/** a comes before b. */
export const seqLt = (a: number, b: number): boolean => ((a - b) | 0) < 0;
/** a comes before b or is b. */
export const seqLe = (a: number, b: number): boolean => ((a - b) | 0) <= 0;
/** a comes after b. */
export const seqGt = (a: number, b: number): boolean => ((a - b) | 0) > 0;
/** a comes after b or is b. */
export const seqGe = (a: number, b: number): boolean => ((a - b) | 0) >= 0;
/** Bytes from a to b, negative when b comes first. */
export const seqDist = (a: number, b: number): number => (b - a) | 0;
/** The later of two. */
export const seqMax = (a: number, b: number): number => (((a - b) | 0) > 0 ? a : b);
/** The earlier of two. */
export const seqMin = (a: number, b: number): number => (((a - b) | 0) < 0 ? a : b);
