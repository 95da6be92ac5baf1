/** Who wants to know how an experiment goes: the live page, and whoever shows it to Prometheus. */
import type { ExperimentDirection, Phase } from './labels.js';
import type { RunRecord } from './record.js';

/** Where an experiment is. */
export interface Progression {
  /** Name of the comparison: its results folder. */
  run: string;
  config: string;
  /** What is measured; rx when not given. */
  direction?: ExperimentDirection;
  /** From 0. */
  round: number;
  phase: Phase;
  /** Mean bytes of a frame, without FCS. */
  frameBytes: number;
  guests: number;
  /** null: unlimited. */
  linkGbps: number | null;
}

/** What a configuration, or the application on plain loopback, answers over HTTP in a closed loop. */
export interface AnsweredRequests {
  config: string;
  scenario: string;
  round: number;
  requestsPerSecond: number;
}

export interface Observer {
  /** A phase begins. */
  phase(at: Progression): Promise<void>;
  /** A run has its figures. */
  finished(run: string, record: RunRecord): Promise<void>;
  /** A run over HTTP has its figures. */
  answered?(run: string, requests: AnsweredRequests): Promise<void>;
  /** Nothing is measured any more, whatever phase came last: the run failed, or was ended early. */
  released?(): void;
}

/** Tells several. Observers look on: one that fails is no reason to fail the run. */
export function observers(...all: readonly Observer[]): Observer {
  return {
    phase: async (at) => {
      await Promise.allSettled(all.map((o) => o.phase(at)));
    },
    finished: async (run, record) => {
      await Promise.allSettled(all.map((o) => o.finished(run, record)));
    },
    answered: async (run, requests) => {
      await Promise.allSettled(all.map((o) => o.answered?.(run, requests) ?? Promise.resolve()));
    },
    released: () => {
      for (const o of all) o.released?.();
    },
  };
}
