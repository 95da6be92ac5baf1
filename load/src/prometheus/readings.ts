/** The experiment as metrics. docs/wire/metrics.md section 4. Pure. */
import { DRIVER_DOMAIN_CPU, GUEST_CPU, HYPERVISOR_CPU, NIC_CPU, snake, type Labels } from '@grantline/machine';
import type { Reading } from '@grantline/observe';
import { PAPER } from '../report/paper.js';
import { WIRE_OVERHEAD_BYTES } from '@grantline/frames';
import {
  CONFIG_LABELS,
  configLabel,
  directionLabel,
  EXPERIMENT_DIRECTIONS,
  PHASES,
  type ConfigLabel,
} from '../runner/labels.js';
import type { Progression } from '../runner/observer.js';
import type { LatencyUs, PerFrame, Result } from '../runner/record.js';
import type { EXPERIMENT_FAMILIES } from './families.js';

type Family = keyof typeof EXPERIMENT_FAMILIES;
export type ExperimentReading = Reading<Family>;

/** Where an experiment is, in the words of the metrics. */
export type Stage = Required<Progression> & { config: ConfigLabel };

/** What the phases of a run are told apart by. */
export const keyOf = ({ phase, config, direction }: Pick<Stage, 'phase' | 'config' | 'direction'>): string =>
  `${phase} ${config} ${direction}`;

export const reading = (family: Family, value: number, labels: Labels = {}): ExperimentReading => ({
  ...{ family, labels, value },
});

/** Every phase with every configuration and direction, from the start. @param entered by `keyOf`, milliseconds since the epoch */
export function phaseReadings(stage: Stage | null, entered: ReadonlyMap<string, number>): ExperimentReading[] {
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
export function runReadings(stage: Stage | null): ExperimentReading[] {
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
const QUANTILES: Readonly<Record<keyof LatencyUs, string>> = {
  ...{ p50: '0.5', p90: '0.9', p99: '0.99', p999: '0.999', max: '1' },
};

/** Figures of a finished run. @returns them, and what they replace those of */
export function resultReadings(run: string, r: Result): { key: string; readings: ExperimentReading[] } {
  const own = { run, config: configLabel(r.config), direction: directionLabel(r.direction, r.tcp === true) };
  const spent = Object.entries(r.cpuNsPerFrame.components).map(([name, ns]) => [snake(name), ns] as const);
  const cpu = new Map([...COMPONENTS.map((name) => [name, 0] as const), ...spent]);
  const { latencyUs } = r;
  const quantiles = Object.entries(QUANTILES) as [keyof LatencyUs, string][];
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
