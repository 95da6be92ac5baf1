/** The experiment as metrics. docs/wire/metrics.md section 4. */
import { DRIVER_DOMAIN_CPU, GUEST_CPU, HYPERVISOR_CPU, NIC_CPU, snake, type Labels } from '@grantline/machine';
import { EXPERIMENT_DIRECTIONS, type FamilyName } from '@grantline/observe';
import type { Reading } from '@grantline/service';
import { CONFIG_LABELS, PER_FRAME_OPS, PHASES, type Experiment, type RunFigures, type Stage } from './experiment.js';

/** Bytes that Ethernet adds to each frame on the wire: FCS 4, preamble and start 8, gap 12. Source: IEEE 802.3. */
const WIRE_OVERHEAD_BYTES = 24;
/** Gb/s in the paper's evaluation: driver domain as it was, and with all optimisations. */
const PAPER_GBPS = { baseline: 2.9, optimised: 10 };
const QUANTILES = { p50: '0.5', p90: '0.9', p99: '0.99', p999: '0.999', max: '1' } as const;

/** Components that CPU time of a frame can go to; `runtime`: garbage collection and compiler. */
const COMPONENTS: readonly string[] = Object.entries({
  nic: NIC_CPU,
  driver_domain: DRIVER_DOMAIN_CPU,
  hypervisor: HYPERVISOR_CPU,
  guest: GUEST_CPU,
}).flatMap(([group, names]) => [...names, 'runtime'].map((name) => `${group}.${snake(name)}`));

const reading = (family: FamilyName, value: number, labels: Labels = {}): Reading => ({ family, labels, value });

/** @param inForce the testbed's configuration: the one that is idle while nobody says more */
export function experimentReadings(experiment: Experiment, inForce: string): Reading[] {
  const { stage } = experiment;
  const phase = stage?.phase ?? 'idle';
  const now = stage?.config ?? inForce;
  const way = stage?.direction ?? 'rx';
  const out: Reading[] = [];
  for (const p of PHASES) {
    for (const config of CONFIG_LABELS) {
      for (const direction of EXPERIMENT_DIRECTIONS) {
        const labels = { phase: p, config, direction };
        const is = p === phase && config === now && direction === way;
        out.push(
          reading('grantline_phase_info', is ? 1 : 0, labels),
          reading('grantline_phase_start_timestamp_seconds', experiment.enteredMs(p, config, direction) / 1000, labels),
        );
      }
    }
  }
  if (stage !== null)
    out.push(reading('grantline_run_info', 1, { run: stage.run, config: stage.config, direction: way }));
  out.push(
    reading('grantline_experiment_frame_bytes', stage?.frameBytes ?? 0),
    reading('grantline_experiment_guests', stage?.guests ?? 0),
    reading('grantline_experiment_line_rate_bytes_per_second', stage === null ? 0 : lineRate(stage)),
  );
  for (const [config, gbps] of Object.entries(PAPER_GBPS))
    out.push(reading('grantline_paper_bytes_per_second', (gbps * 1e9) / 8, { config }));
  for (const { run, config, scenario, requestsPerSecond } of experiment.requests())
    out.push(reading('grantline_result_requests_per_second', requestsPerSecond, { run, config, scenario }));
  return [...out, ...experiment.list().flatMap(resultReadings)];
}

/** Bytes of frames per second, without FCS, that fill the link; 0: unlimited. */
function lineRate({ linkGbps, frameBytes }: Stage): number {
  return linkGbps === null ? 0 : (((linkGbps * 1e9) / 8) * frameBytes) / (frameBytes + WIRE_OVERHEAD_BYTES);
}

function resultReadings(f: Required<RunFigures>): Reading[] {
  const own = { run: f.run, config: f.config, direction: f.direction };
  const cpu = { ...Object.fromEntries(COMPONENTS.map((name) => [name, 0])), ...f.cpuNsPerFrame };
  const { latencyUs } = f;
  return [
    reading('grantline_result_bytes_per_second', (f.gbps * 1e9) / 8, own),
    reading('grantline_result_frames_per_second', f.framesPerSecond, own),
    reading('grantline_result_offered_frames_per_second', f.offeredFramesPerSecond, own),
    reading('grantline_result_lost_frames', f.lost, own),
    ...Object.entries(cpu).map(([component, ns]) =>
      reading('grantline_result_cpu_seconds_per_frame', ns / 1e9, { ...own, component }),
    ),
    ...PER_FRAME_OPS.map((op) => reading('grantline_result_operations_per_frame', f.perFrame[op], { ...own, op })),
    ...(latencyUs === null
      ? []
      : Object.entries(QUANTILES).map(([name, quantile]) =>
          reading('grantline_result_latency_seconds', latencyUs[name as keyof typeof QUANTILES] / 1e6, {
            ...own,
            quantile,
          }),
        )),
  ];
}
