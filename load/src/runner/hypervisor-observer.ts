/** Tells the hypervisor how the experiment goes, which shows it to Prometheus. docs/wire/metrics.md section 4. */
import { CONFIGURATIONS } from '@grantline/base';
import { LOOPBACK_CONFIG, type ExperimentDirection } from '@grantline/observe';
import { snake } from '@grantline/machine';
import type { Client } from './client.js';
import type { AnsweredRequests, Observer, Progression } from './observer.js';
import type { Direction } from './hop.js';
import type { LatencyUs, PerFrame, Result, RunRecord } from './record.js';

/** Body of POST /api/experiment/results. */
export interface ExperimentResult {
  run: string;
  config: string;
  direction: ExperimentDirection;
  round: number;
  gbps: number;
  framesPerSecond: number;
  offeredFramesPerSecond: number;
  lost: number;
  /** By component, as `driver_domain.netback`. */
  cpuNsPerFrame: Record<string, number>;
  perFrame: Record<string, number>;
  latencyUs: LatencyUs | null;
}

const OPS: readonly (keyof PerFrame)[] = ['grantOps', 'hypercalls', 'copies', 'notifications', 'suppressed', 'wakeups'];

/** Names in metrics are known beforehand: whatever is none of the ladder is `custom`. */
const configLabel = (name: string): string => (Object.hasOwn(CONFIGURATIONS, name) ? name : 'custom');

/** What a run measures. Streams go to the guests or from them. */
export function directionLabel(direction: Direction, tcp: boolean): ExperimentDirection {
  if (!tcp) return direction;
  return direction === 'tx' ? 'tcp-tx' : 'tcp-rx';
}

/** The part of a record that the hypervisor shows. */
export function experimentResult(run: string, r: Result): ExperimentResult {
  const components = Object.entries(r.cpuNsPerFrame.components);
  return {
    run,
    config: configLabel(r.config),
    direction: directionLabel(r.direction, r.tcp === true),
    round: r.round,
    gbps: r.delivered.gbps,
    framesPerSecond: r.delivered.framesPerSecond,
    offeredFramesPerSecond: r.offered.framesPerSecond,
    lost: r.lost,
    cpuNsPerFrame: Object.fromEntries(components.map(([name, ns]) => [snake(name), ns])),
    perFrame: Object.fromEntries(OPS.map((op) => [snake(op), r.perFrame[op] as number])),
    latencyUs: r.latencyUs,
  };
}

export class HypervisorObserver implements Observer {
  private readonly client: Pick<Client, 'putExperiment' | 'postResult' | 'postRequests'>;
  private last: Progression | null = null;
  private over = false;

  constructor(client: HypervisorObserver['client']) {
    this.client = client;
  }

  async phase(at: Progression): Promise<void> {
    if (this.over) return;
    this.last = at;
    await this.client.putExperiment({ ...at, config: configLabel(at.config) });
  }

  async finished(run: string, record: RunRecord): Promise<void> {
    await this.client.postResult(experimentResult(run, record));
  }

  async answered(run: string, requests: AnsweredRequests): Promise<void> {
    const { config } = requests;
    await this.client.postRequests({
      ...{ run, ...requests },
      config: config === LOOPBACK_CONFIG ? config : configLabel(config),
    });
  }

  /** Nothing more comes, for whatever reason: a testbed that stays must not say for ever that it measures. */
  async end(): Promise<void> {
    this.over = true;
    const { last } = this;
    if (last === null || last.phase === 'idle') return;
    await this.client.putExperiment({ ...last, config: configLabel(last.config), phase: 'idle' }).catch(() => {});
  }
}
