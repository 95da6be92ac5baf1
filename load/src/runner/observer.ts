/** Who wants to know how an experiment goes - the live page, and whoever shows it to Prometheus - and what experiments are called
 *  there. */
import { CONFIGURATIONS, configurationNames } from '@grantline/base';
import type { DirectionName, PhaseName, Progression } from '../../page/messages.js';
import type { Direction, RunRecord } from './record.js';

/** What is being done; `measure` is the only part whose figures count. */
export const PHASES: readonly PhaseName[] = ['idle', 'configure', 'warmup', 'measure', 'drain'];

/** What an experiment measures, as a label: frames to the guests or from them, from guest to guest, requests and their
 *  answers, TCP streams either way, and HTTP. */
export const EXPERIMENT_DIRECTIONS: readonly DirectionName[] = [
  'rx',
  'tx',
  'guest-to-guest',
  'rr',
  'tcp-rx',
  'tcp-tx',
  'http',
];

/** The same web application on plain loopback: beside the configurations where requests are counted. */
export const LOOPBACK = 'loopback';

/** All that a configuration can be called. */
export const CONFIG_LABELS = [...configurationNames, 'custom'] as const;
export type ConfigLabel = (typeof CONFIG_LABELS)[number];

/** Names in metrics are known beforehand: whatever is none of the ladder is `custom`. */
export const configLabel = (name: string): ConfigLabel =>
  Object.hasOwn(CONFIGURATIONS, name) ? (name as ConfigLabel) : 'custom';

/** What a run measures. Streams go to the guests or from them. */
export function directionLabel(direction: Direction, tcp: boolean): DirectionName {
  if (!tcp) return direction;
  return direction === 'tx' ? 'tcp-tx' : 'tcp-rx';
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
  const tell = async (one: (o: Observer) => Promise<void>): Promise<void> => {
    await Promise.allSettled(all.map(one));
  };
  return {
    phase: (at) => tell((o) => o.phase(at)),
    finished: (run, record) => tell((o) => o.finished(run, record)),
    answered: (run, requests) => tell(async (o) => o.answered?.(run, requests)),
    released: () => {
      for (const o of all) o.released?.();
    },
  };
}
