/** What the data path needs of the outside, as narrow as can be: tests put their own behind it. */

/** CPU time by component; CpuMeter is one. */
export interface Laps {
  /** About now, nanoseconds; moves with each lap. */
  readonly now: number;
  lap(component: number): void;
}

/** The sending end of an event channel. */
export interface Notify {
  notify(): void;
}

/** A part of one vif: what it throws is that vif's affair. */
export interface VifPart {
  /** It threw: it does nothing more, and its vif is told. */
  failed(err: unknown): void;
}

/** Puts a poller back to work; DataLoop is one. */
export interface Scheduler<P> {
  schedule(poller: P): void;
}
