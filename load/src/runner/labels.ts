/** What experiments are called where they are shown: in metrics and on the live page. */
import { CONFIGURATIONS, configurationNames } from '@grantline/base';
import type { Direction } from './hop.js';

/** What is being done; `measure` is the only part whose figures count. */
export const PHASES = ['idle', 'configure', 'warmup', 'measure', 'drain'] as const;
export type Phase = (typeof PHASES)[number];

/** What an experiment measures, as a label: frames to the guests or from them, from guest to guest, requests and their
 *  answers, TCP streams either way, and HTTP. */
export const EXPERIMENT_DIRECTIONS = ['rx', 'tx', 'guest-to-guest', 'rr', 'tcp-rx', 'tcp-tx', 'http'] as const;
export type ExperimentDirection = (typeof EXPERIMENT_DIRECTIONS)[number];

/** The same web application on plain loopback: beside the configurations where requests are counted. */
export const LOOPBACK_CONFIG = 'loopback';

/** All that a configuration can be called. */
export const CONFIG_LABELS = [...configurationNames, 'custom'] as const;
export type ConfigLabel = (typeof CONFIG_LABELS)[number];

/** Names in metrics are known beforehand: whatever is none of the ladder is `custom`. */
export const configLabel = (name: string): ConfigLabel =>
  Object.hasOwn(CONFIGURATIONS, name) ? (name as ConfigLabel) : 'custom';

/** What a run measures. Streams go to the guests or from them. */
export function directionLabel(direction: Direction, tcp: boolean): ExperimentDirection {
  if (!tcp) return direction;
  return direction === 'tx' ? 'tcp-tx' : 'tcp-rx';
}
