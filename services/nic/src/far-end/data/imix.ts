/** A mix of frame sizes as on the Internet. */
import { Rng } from '@grantline/base';
import { IMIX_WEIGHTS } from '@grantline/frames';

/** How often each of IMIX_BYTES stands in twelve. */
const IMIX_TIMES = IMIX_WEIGHTS.map((n) => n / 4);
const IMIX_ROUNDS = 100;
/** Size indices for IMIX, shuffled by the seed: exactly 7:4:1 in each round of 1200. */
export function imixOrder(seed: number): Uint8Array {
  const order = new Uint8Array(12 * IMIX_ROUNDS);
  let n = 0;
  for (let round = 0; round < IMIX_ROUNDS; round++)
    for (let size = 0; size < IMIX_TIMES.length; size++) for (let i = 0; i < IMIX_TIMES[size]; i++) order[n++] = size;
  const rng = new Rng(seed);
  for (let i = order.length - 1; i > 0; i--) {
    const j = rng.below(i + 1);
    const swap = order[i];
    order[i] = order[j]!;
    order[j] = swap;
  }
  return order;
}
