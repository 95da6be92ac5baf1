/** What the experimenter says is going on, for Prometheus and for whoever asks. One run at a time: a new one forgets what
 *  the one before has left, so all of it stays small. docs/wire/metrics.md section 4. */
import { configurationNames } from '@grantline/base';
import { EXPERIMENT_DIRECTIONS, LOOPBACK_CONFIG, type ExperimentDirection } from '@grantline/observe';
import { DomainError } from './domains.js';

export const PHASES = ['idle', 'configure', 'warmup', 'measure', 'drain'] as const;
export type Phase = (typeof PHASES)[number];
/** All that a configuration can be called. */
export const CONFIG_LABELS = [...configurationNames, 'custom'] as const;
export type ConfigLabel = (typeof CONFIG_LABELS)[number];
/** What requests are answered by. */
export const REQUEST_LABELS = [...CONFIG_LABELS, LOOPBACK_CONFIG] as const;
export const PER_FRAME_OPS = ['grant_ops', 'hypercalls', 'copies', 'notifications', 'suppressed', 'wakeups'] as const;
export type PerFrameOp = (typeof PER_FRAME_OPS)[number];

/** Where the experiment is. */
export interface Stage {
  /** Name of the comparison: its results folder. */
  run: string;
  config: ConfigLabel;
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

/** Figures of a finished run of one configuration. */
export interface RunFigures {
  run: string;
  config: ConfigLabel;
  /** rx when not given. */
  direction?: ExperimentDirection;
  round: number;
  /** Delivered. */
  gbps: number;
  framesPerSecond: number;
  offeredFramesPerSecond: number;
  lost: number;
  /** Nanoseconds per delivered frame by component, as `driver_domain.netback`. */
  cpuNsPerFrame: Record<string, number>;
  perFrame: Record<PerFrameOp, number>;
  latencyUs: { p50: number; p90: number; p99: number; p999: number; max: number } | null;
}

/** Requests over HTTP of a finished run, closed loop. */
export interface RequestFigures {
  run: string;
  config: (typeof REQUEST_LABELS)[number];
  /** As it is typed: json, bytes:1M. */
  scenario: string;
  round: number;
  requestsPerSecond: number;
}

/** Scenarios that a run may have. */
const MAX_SCENARIOS = 32;

export class Experiment {
  /** null: nobody has said anything yet. */
  stage: Required<Stage> | null = null;
  /** When the phase under way was entered, milliseconds since the epoch; 0: never. */
  phaseStartMs = 0;
  private readonly nowMs: () => number;
  private readonly results = new Map<string, Required<RunFigures>>();
  private readonly answered = new Map<string, RequestFigures>();
  private readonly entered = new Map<string, number>();

  /** @param nowMs replaced in tests */
  constructor(nowMs: () => number = Date.now) {
    this.nowMs = nowMs;
  }

  /** What is under way from now on. Saying the same again changes nothing. */
  enter(given: Stage): void {
    const old = this.stage;
    const stage = { direction: 'rx' as const, ...given };
    this.stage = stage;
    if (old?.run !== stage.run) {
      this.results.clear();
      this.answered.clear();
    } else if (keyOf(old) === keyOf(stage) && old.round === stage.round) {
      return;
    }
    this.phaseStartMs = this.nowMs();
    this.entered.set(keyOf(stage), this.phaseStartMs);
  }

  /** A run has its figures: they replace those of the same configuration and direction.
   *  @throws DomainError 409 for another run */
  finish(given: RunFigures): void {
    this.check(given.run);
    const figures = { direction: 'rx' as const, ...given };
    this.results.set(`${figures.direction} ${figures.config}`, figures);
  }

  /** The same for requests. @throws DomainError 409 for another run, and for too many scenarios */
  finishRequests(figures: RequestFigures): void {
    this.check(figures.run);
    const key = `${figures.scenario} ${figures.config}`;
    if (!this.answered.has(key) && this.answered.size >= MAX_SCENARIOS * REQUEST_LABELS.length)
      throw new DomainError(409, `a run has at most ${MAX_SCENARIOS} scenarios`);
    this.answered.set(key, figures);
  }

  /** The last figures of each configuration in the run under way, in the order of the ladder, one direction after
   *  another. */
  list(): Required<RunFigures>[] {
    return EXPERIMENT_DIRECTIONS.flatMap((direction) =>
      CONFIG_LABELS.flatMap((config) => this.results.get(`${direction} ${config}`) ?? []),
    );
  }

  /** The last figures of each scenario and configuration. */
  requests(): RequestFigures[] {
    return [...this.answered.values()];
  }

  /** When a phase was last entered with that configuration, milliseconds since the epoch; 0: never. */
  enteredMs(phase: Phase, config: ConfigLabel, direction: ExperimentDirection = 'rx'): number {
    return this.entered.get(keyOf({ phase, config, direction })) ?? 0;
  }

  /** @throws DomainError 409 when it is not the run under way */
  private check(run: string): void {
    const current = this.stage?.run;
    if (current === undefined)
      throw new DomainError(409, 'no run is under way: say so first, with PUT /api/experiment');
    if (run !== current) throw new DomainError(409, `the run under way is '${current}', not '${run}'`);
  }
}

const keyOf = (s: Pick<Required<Stage>, 'phase' | 'config' | 'direction'>): string =>
  `${s.phase} ${s.config} ${s.direction}`;
