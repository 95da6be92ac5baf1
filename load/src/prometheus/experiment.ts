/** How an experiment goes, for Prometheus. One run at a time: a new one forgets what the one before has left, so all of
 *  it stays small. docs/wire/metrics.md section 4. */
import { CONFIG_LABELS, configLabel, LOOPBACK_CONFIG } from '../runner/labels.js';
import type { AnsweredRequests, Observer, Progression } from '../runner/observer.js';
import type { Result } from '../runner/record.js';
import {
  keyOf,
  phaseReadings,
  reading,
  resultReadings,
  runReadings,
  type ExperimentReading,
  type Stage,
} from './readings.js';

/** Scenarios that a run may have, of each configuration and of loopback. */
const MAX_ANSWERED = 32 * (CONFIG_LABELS.length + 1);

/** What is told is not of the run under way, or too much. */
export class ExperimentError extends Error {
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
    const stage: Stage = { ...at, config: configLabel(at.config), direction: at.direction ?? 'rx' };
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
    const config = name === LOOPBACK_CONFIG ? name : configLabel(name);
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
