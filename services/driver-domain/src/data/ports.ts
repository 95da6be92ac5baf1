/** What the data path needs of the outside, as narrow as can be: tests put their own behind it. Beside it: Laps, Notify and Scheduler
 *  of @grantline/machine. */

/** A part of one vif: what it throws is that vif's affair. */
export interface VifPart {
  /** It threw: it does nothing more, and its vif is told. */
  failed(err: unknown): void;
}
