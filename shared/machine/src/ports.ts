/** What many parts need of their surroundings, as narrow as can be: tests put their own behind it. */

/** CPU time by component; CpuMeter is one. */
export interface Laps {
  /** About now, nanoseconds; moves with each lap. */
  readonly now: number;
  lap(component: number): void;
}

/** The sending end of an event channel: rings whoever is at the other end. */
export interface Notify {
  notify(): unknown;
}

/** Puts a poller back to work; DataLoop is one. */
export interface Scheduler<P> {
  schedule(poller: P): void;
}

/** Where lines of the log go. @template Level those that are used */
export type Logs<Level extends 'info' | 'warn' | 'error' = 'info' | 'warn' | 'error'> = Record<
  Level,
  (what: object, text: string) => void
>;
