/** The end of every batch: what was written is visible, and the peer is rung when it asked. */
import type { Notify } from '@grantline/machine';

/** @param asked what `push` or `publish` returned
 *  @param v counters @param notifications slot that counts the rings @param suppressed slot that counts those that nobody asked for */
export function notifyIf(
  asked: boolean,
  peer: Notify,
  v: Float64Array,
  notifications: number,
  suppressed: number,
): void {
  if (asked) {
    v[notifications]++;
    peer.notify();
  } else v[suppressed]++;
}
