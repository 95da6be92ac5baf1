/** How an experiment goes, for Prometheus. One run at a time: a new one forgets what the one before has left, so all of
 *  it stays small. docs/wire/metrics.md section 4. */
import {
  gauge,
  summary,
  DRIVER_DOMAIN_CPU,
  GUEST_CPU,
  HYPERVISOR_CPU,
  NIC_CPU,
  snake,
  type Family,
  type Labels,
} from '@grantline/machine';
import type { Reading } from '@grantline/observe';
import { WIRE_OVERHEAD_BYTES } from '@grantline/frames';
import { PAPER } from '../report/paper.js';
import {
  CONFIG_LABELS,
  configLabel,
  directionLabel,
  EXPERIMENT_DIRECTIONS,
  PHASES,
  LOOPBACK,
  type ConfigLabel,
  type AnsweredRequests,
  type Observer,
} from '../runner/observer.js';
import type { PerFrame, Result } from '../runner/record.js';
import type { Progression } from '../../page/messages.js';

const RUN = ['run', 'config', 'direction'] as const;
const PHASE = ['phase', 'config', 'direction'] as const;

export const EXPERIMENT_FAMILIES = {
  grantline_run_info: gauge('1: the run under way, and the configuration that it is at.', ...RUN),
  grantline_phase_info: gauge('1 for the phase under way with its configuration.', ...PHASE),
  grantline_phase_start_timestamp_seconds: gauge('When a phase was last entered; 0: never.', ...PHASE),
  grantline_experiment_frame_bytes: gauge('Mean bytes of the frames of the run, without FCS; 0: no run yet.'),
  grantline_experiment_guests: gauge('Guests that take part in the run.'),
  grantline_experiment_line_rate_bytes_per_second: gauge(
    'Bytes of frames that the link of the run can carry; 0: unlimited.',
  ),
  grantline_result_bytes_per_second: gauge('Delivered bytes per second of the last run.', ...RUN),
  grantline_result_frames_per_second: gauge('Delivered frames per second of the last run.', ...RUN),
  grantline_result_offered_frames_per_second: gauge('Offered frames per second of the last run.', ...RUN),
  grantline_result_lost_frames: gauge('Frames lost in the last run.', ...RUN),
  grantline_result_cpu_seconds_per_frame: gauge('CPU time per delivered frame.', ...RUN, 'component'),
  grantline_result_operations_per_frame: gauge('Operations per delivered frame.', ...RUN, 'op'),
  grantline_result_latency_seconds: summary('Latency of the last run.', ...RUN, 'quantile'),
  grantline_result_requests_per_second: gauge(
    'Requests answered per second over HTTP, closed loop, in the last run.',
    ...(['run', 'config', 'scenario'] as const),
  ),
  grantline_paper_bytes_per_second: gauge("The paper's throughput, for graphs.", 'config'),
} as const satisfies Record<string, Family>;

type Name = keyof typeof EXPERIMENT_FAMILIES;
type ExperimentReading = Reading<Name>;

/** Where an experiment is, in the words of the metrics. */
type Stage = Progression & { config: ConfigLabel };

/** What the phases of a run are told apart by. */
export const keyOf = ({ phase, config, direction }: Pick<Stage, 'phase' | 'config' | 'direction'>): string =>
  `${phase} ${config} ${direction}`;

export const reading = (family: Name, value: number, labels: Labels = {}): ExperimentReading => ({
  ...{ family, labels, value },
});

/** Every phase with every configuration and direction, from the start. @param entered by `keyOf`, milliseconds since the epoch */
function phaseReadings(stage: Stage | null, entered: ReadonlyMap<string, number>): ExperimentReading[] {
  const now = stage === null ? '' : keyOf(stage);
  return PHASES.flatMap((phase) =>
    CONFIG_LABELS.flatMap((config) =>
      EXPERIMENT_DIRECTIONS.flatMap((direction) => {
        const labels = { phase, config, direction };
        const key = keyOf(labels);
        return [
          reading('grantline_phase_info', key === now ? 1 : 0, labels),
          reading('grantline_phase_start_timestamp_seconds', (entered.get(key) ?? 0) / 1000, labels),
        ];
      }),
    ),
  );
}

/** The run under way, and what the paper has for it. */
function runReadings(stage: Stage | null): ExperimentReading[] {
  const labels = stage && { run: stage.run, config: stage.config, direction: stage.direction };
  return [
    ...(labels === null ? [] : [reading('grantline_run_info', 1, labels)]),
    reading('grantline_experiment_frame_bytes', stage?.frameBytes ?? 0),
    reading('grantline_experiment_guests', stage?.guests ?? 0),
    reading('grantline_experiment_line_rate_bytes_per_second', stage === null ? 0 : lineRate(stage)),
    reading('grantline_paper_bytes_per_second', (PAPER.baselineGbps * 1e9) / 8, { config: 'baseline' }),
    reading('grantline_paper_bytes_per_second', (PAPER.optimisedGbps * 1e9) / 8, { config: 'optimised' }),
  ];
}

/** Bytes of frames per second, without FCS, that fill the link; 0: unlimited. */
function lineRate({ linkGbps, frameBytes }: Stage): number {
  return linkGbps === null ? 0 : (((linkGbps * 1e9) / 8) * frameBytes) / (frameBytes + WIRE_OVERHEAD_BYTES);
}

/** Components that CPU time of a frame can go to; `runtime`: garbage collection and compiler. */
const COMPONENTS: readonly string[] = Object.entries({
  nic: NIC_CPU,
  driver_domain: DRIVER_DOMAIN_CPU,
  hypervisor: HYPERVISOR_CPU,
  guest: GUEST_CPU,
}).flatMap(([group, names]) => [...names, 'runtime'].map((name) => `${group}.${snake(name)}`));
const OPS: readonly (keyof PerFrame)[] = ['grantOps', 'hypercalls', 'copies', 'notifications', 'suppressed', 'wakeups'];
type LatencyKey = keyof NonNullable<Result['latencyUs']>;
const QUANTILES: Readonly<Record<LatencyKey, string>> = {
  ...{ p50: '0.5', p90: '0.9', p99: '0.99', p999: '0.999', max: '1' },
};

/** Figures of a finished run. @returns them, and what they replace those of */
function resultReadings(run: string, r: Result): { key: string; readings: ExperimentReading[] } {
  const own = { run, config: configLabel(r.config), direction: directionLabel(r.direction, r.tcp === true) };
  const spent = Object.entries(r.cpuNsPerFrame.components).map(([name, ns]) => [snake(name), ns] as const);
  const cpu = new Map([...COMPONENTS.map((name) => [name, 0] as const), ...spent]);
  const { latencyUs } = r;
  const quantiles = Object.entries(QUANTILES) as [LatencyKey, string][];
  return {
    key: `${own.direction} ${own.config}`,
    readings: [
      reading('grantline_result_bytes_per_second', (r.delivered.gbps * 1e9) / 8, own),
      reading('grantline_result_frames_per_second', r.delivered.framesPerSecond, own),
      reading('grantline_result_offered_frames_per_second', r.offered.framesPerSecond, own),
      reading('grantline_result_lost_frames', r.lost, own),
      ...[...cpu].map(([component, ns]) =>
        reading('grantline_result_cpu_seconds_per_frame', ns / 1e9, { ...own, component }),
      ),
      ...OPS.map((op) =>
        reading('grantline_result_operations_per_frame', r.perFrame[op] as number, { ...own, op: snake(op) }),
      ),
      ...(latencyUs === null
        ? []
        : quantiles.map(([name, quantile]) =>
            reading('grantline_result_latency_seconds', latencyUs[name] / 1e6, { ...own, quantile }),
          )),
    ],
  };
}

/** Scenarios that a run may have, of each configuration and of loopback. */
const MAX_ANSWERED = 32 * (CONFIG_LABELS.length + 1);

/** What is told is not of the run under way, or too much. */
class ExperimentError extends Error {
  override readonly name = 'ExperimentError';
  /** For fastify. */
  readonly statusCode = 409;
}

export class Experiment implements Observer {
  /** null: nobody has said anything yet. */
  private stage: Stage | null = null;
  private readonly nowMs: () => number;
  /** When each phase was last entered with each configuration and direction, milliseconds since the epoch. */
  private readonly entered = new Map<string, number>();
  /** Of the last run of each configuration in each direction. */
  private readonly results = new Map<string, ExperimentReading[]>();
  /** Of each scenario and configuration. */
  private readonly requests = new Map<string, ExperimentReading>();

  /** @param nowMs replaced in tests */
  constructor(nowMs: () => number = Date.now) {
    this.nowMs = nowMs;
  }

  /** What is under way from now on. Saying the same again changes nothing. */
  phase(at: Progression): Promise<void> {
    const old = this.stage;
    const stage: Stage = { ...at, config: configLabel(at.config) };
    this.stage = stage;
    if (old?.run !== stage.run) {
      this.results.clear();
      this.requests.clear();
    } else if (keyOf(old) === keyOf(stage) && old.round === stage.round) {
      return Promise.resolve();
    }
    this.entered.set(keyOf(stage), this.nowMs());
    return Promise.resolve();
  }

  /** The figures replace those of the same configuration and direction. Fails for another run than that under way. */
  async finished(run: string, result: Result): Promise<void> {
    await this.check(run);
    const { key, readings } = resultReadings(run, result);
    this.results.set(key, readings);
  }

  /** The same for requests. Fails for too many scenarios besides. */
  async answered(run: string, { config: name, scenario, requestsPerSecond }: AnsweredRequests): Promise<void> {
    await this.check(run);
    const config = name === LOOPBACK ? name : configLabel(name);
    const key = `${scenario} ${config}`;
    if (!this.requests.has(key) && this.requests.size >= MAX_ANSWERED)
      throw new ExperimentError('the run has too many scenarios');
    const labels = { run, config, scenario };
    this.requests.set(key, reading('grantline_result_requests_per_second', requestsPerSecond, labels));
  }

  /** Nothing is measured any more: an experimenter that has not said so was ended early. */
  released(): void {
    if (this.stage !== null && this.stage.phase !== 'idle') void this.phase({ ...this.stage, phase: 'idle' });
  }

  /** All that there is to show. */
  readings(): ExperimentReading[] {
    return [
      ...phaseReadings(this.stage, this.entered),
      ...runReadings(this.stage),
      ...[...this.results.values()].flat(),
      ...this.requests.values(),
    ];
  }

  private check(run: string): Promise<void> {
    const current = this.stage?.run;
    if (run === current) return Promise.resolve();
    const why = current === undefined ? 'no run is under way' : `the run under way is '${current}', not '${run}'`;
    return Promise.reject(new ExperimentError(why));
  }
}
