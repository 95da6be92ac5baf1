/** Metrics of the experiment under way. docs/wire/metrics.md section 4. */
import { gauge, summary, type Family } from '@grantline/machine';

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
    'run',
    'config',
    'scenario',
  ),
  grantline_paper_bytes_per_second: gauge("The paper's throughput, for graphs.", 'config'),
} as const satisfies Record<string, Family>;
