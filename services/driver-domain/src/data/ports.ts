/** What the data path needs of the outside, as narrow as can be: tests put their own behind it. Beside it: Laps, Notify and Scheduler
 *  of @grantline/machine. */

/** A part of one vif: what it throws is that vif's affair. */
export interface VifPart {
  /** It threw: it does nothing more, and its vif is told. */
  failed(err: unknown): void;
}

/** What a part of a vif does that threw: its state may be anything, so what can be stopped is, and its vif is told. */
export function stopFailed(
  part: { stop: () => void },
  onError: ((err: unknown) => void) | undefined,
  err: unknown,
): void {
  try {
    part.stop();
  } catch {
    // The first error is the one to tell.
  }
  if (onError === undefined) throw err;
  onError(err);
}
