/** Runs of all scenarios on all targets, interleaved: loopback takes its turn among the configurations, so that a machine
 *  that gets slower or faster favours none. */
import { allowedCores, coreFor, type Configuration } from '@grantline/base';
import { RunError } from '../base/errors.js';
import { configure } from '../control/client.js';
import { webDoors } from '../control/load-api.js';
import { checkGuests, type Bed } from '../runner/bed.js';
import type { Progress } from '../base/progress.js';
import { abbaOrder } from '../runner/compare.js';
import { cpuPerFrame } from '../runner/per-frame.js';
import { callBytes } from '../base/http.js';
import { LOOPBACK } from '../runner/observer.js';
import type { PhaseName } from '../../page/messages.js';
import { cpuShares, pairs, secondsBetween, type Snapshot } from '../control/snapshot.js';
import { machineTimes, type MachineTimes } from '../testbed/proc.js';
import { GeneratorProcess, Loopback, type Usage } from './child.js';
import { type Generated, type LoadPlan, type Scenario, type HttpRun, type HttpSettings } from './plan.js';
import { notesOf, refusalOf } from './verdict.js';

/** Of the guests that take part, in their order. @throws RunError when one has none */
async function edgesOf(bed: Bed): Promise<string[]> {
  const doors = await webDoors(bed.nic);
  return bed.guests.map(({ domid, name }) => {
    const url = doors.find((d) => d.domid === domid)?.url;
    if (url === undefined || url === null)
      throw new RunError(
        `${name} cannot be reached: the far end of the cable has no edge for it (GRANTLINE_FAR_END, GRANTLINE_EDGE)`,
      );
    return url;
  });
}

/** How often a configuration that has just been set is asked until it answers. */
const UP_LIMIT_MS = 5000;

/** Most seconds of load before the first run. */
const WARM_LIMIT_S = 3;

/** One kind of run. */
interface Job {
  scenario: Scenario;
  rate: number | null;
}

interface HttpBench {
  bed: Bed;
  configs: readonly Configuration[];
  settings: HttpSettings;
  /** Name of the results folder. */
  name: string;
  progress: Progress;
  onRun: (run: HttpRun) => void;
}

/** All runs in their order. The generator and the server on loopback end with it. @throws RunError */
export async function runHttp(b: HttpBench): Promise<HttpRun[]> {
  const { settings } = b;
  const jobs: Job[] = settings.scenarios.flatMap((scenario) => [
    ...(settings.capacity ? [{ scenario, rate: null }] : []),
    ...settings.rates.map((rate) => ({ scenario, rate })),
  ]);
  const generator = new GeneratorProcess();
  const core = coreFor('guest', 0, allowedCores(), b.bed.placed?.placement ?? 'apart');
  const loopback = await Loopback.start(core);
  const kill = (): void => {
    generator.kill();
    loopback.kill();
  };
  process.once('exit', kill);
  const runs: HttpRun[] = [];
  try {
    const targets: (Configuration | null)[] = [null, ...b.configs];
    await enter(b, b.configs[0], 0, 'configure');
    await warm(b, generator, loopback);
    for (const [round, order] of abbaOrder(targets.length, settings.repeat).entries()) {
      for (const i of order) {
        const config = targets[i];
        if (config !== null) await prepare(b, config, round);
        for (const job of jobs) {
          const run = await (config === null
            ? onLoopback(b, generator, loopback, job, round)
            : onBed(b, generator, config, job, round));
          runs.push(run);
          b.onRun(run);
          // What an open loop answers is what it was told to ask.
          if (run.refused === null && run.mode === 'closed') {
            const { target, scenario, requestsPerSecond } = run;
            const answered = { config: target, scenario, round, requestsPerSecond };
            await b.bed.observer.answered?.(b.name, answered);
          }
        }
      }
    }
    await enter(b, b.configs[0], settings.repeat - 1, 'idle');
  } finally {
    await Promise.all([generator.stop(), loopback.stop()]);
    process.off('exit', kill);
  }
  return runs;
}

/** Load before the first run, on both: what is compiled while it runs would otherwise cost the first configuration most. */
async function warm(b: HttpBench, generator: GeneratorProcess, loopback: Loopback): Promise<void> {
  const seconds = Math.min(WARM_LIMIT_S, 2 * b.settings.warmup);
  if (seconds === 0) return;
  b.progress.live('warming up');
  await prepare(b, b.configs[0], 0);
  const scenario: Scenario = { kind: 'json', name: 'json' };
  for (const urls of [[loopback.url], await edgesOf(b.bed)])
    await generator.run(
      { urls, scenario, connections: b.settings.connections, rate: null, warmup: 0, seconds },
      () => {},
    );
}

const enter = (b: HttpBench, config: Configuration, round: number, phase: PhaseName): Promise<void> =>
  b.bed.observer.phase({
    ...{ run: b.name, config: config.name, direction: 'http' as const, round, phase },
    ...{ frameBytes: 1514, guests: b.settings.guests, linkGbps: null },
  });

/** Sets a configuration and waits until the guests answer in it. */
async function prepare(b: HttpBench, config: Configuration, round: number): Promise<void> {
  b.progress.live(`${config.name}: configuring`);
  await enter(b, config, round, 'configure');
  await configure(b.bed.client, config);
  for (const url of await edgesOf(b.bed)) {
    const end = performance.now() + UP_LIMIT_MS;
    for (;;) {
      const ok = await callBytes('the edge', url, '/', { timeoutMs: 1000 }).then(
        () => true,
        () => false,
      );
      if (ok) break;
      if (performance.now() > end)
        throw new RunError(`${config.name}: ${url} does not answer within ${UP_LIMIT_MS / 1000} s`);
    }
  }
  await b.bed.client.resetCounters(b.bed.services);
}

interface Measured<T> {
  generated: Generated;
  /** Read where measuring began and where it ended. */
  before: T;
  after: T;
  idleShare: number;
  stealShare: number;
}

/** Runs the load, and reads where the measured time begins and ends. */
async function measured<T>(
  b: HttpBench,
  generator: GeneratorProcess,
  urls: readonly string[],
  { scenario, rate }: Job,
  read: () => Promise<T>,
): Promise<Measured<T>> {
  const { connections, warmup, seconds } = b.settings;
  const plan: LoadPlan = { urls, scenario, connections, rate, warmup, seconds };
  const at: { phase: string; reading: Promise<[T, MachineTimes]> }[] = [];
  const generated = await generator.run(plan, (phase) => {
    const machine = machineTimes();
    const reading = read().then((value): [T, MachineTimes] => [value, machine]);
    reading.catch(() => {});
    at.push({ phase, reading });
  });
  const [begin, end] = await Promise.all(at.map((x) => x.reading));
  if (!begin || !end) throw new RunError('the generator did not tell when it measured');
  const [x, y] = [begin[1], end[1]];
  const total = Math.max(1, y.total - x.total);
  return {
    ...{ generated, before: begin[0], after: end[0] },
    ...{ idleShare: (y.idle - x.idle) / total, stealShare: (y.steal - x.steal) / total },
  };
}

async function onLoopback(b: HttpBench, g: GeneratorProcess, l: Loopback, job: Job, round: number): Promise<HttpRun> {
  b.progress.live(`${LOOPBACK}: ${titleOf(job)}`);
  const m = await measured<Usage>(b, g, [l.url], job, () => l.usage());
  const elapsed = m.after.atNs - m.before.atNs;
  const share = (m.after.cpuNs - m.before.cpuNs) / elapsed;
  const rps = m.generated.answered / m.generated.seconds;
  return finish(b, job, round, m, {
    ...{ target: LOOPBACK, factors: null, cpuNsPerRequest: null },
    serverNsPerRequest: rps > 0 ? (share * 1e9) / rps : 0,
    cpuShare: { [LOOPBACK]: share },
  });
}

async function onBed(b: HttpBench, g: GeneratorProcess, c: Configuration, job: Job, round: number): Promise<HttpRun> {
  b.progress.live(`${c.name}: ${titleOf(job)}`);
  await enter(b, c, round, 'measure');
  const urls = await edgesOf(b.bed);
  const m = await measured<Snapshot>(b, g, urls, job, () => b.bed.client.snapshot(b.bed.services));
  await checkGuests(b.bed);
  const cpuShare = cpuShares(m.before, m.after);
  const elapsed = Math.max(0, ...pairs(m.before, m.after).map(({ before, after }) => secondsBetween(before, after)));
  // Counters are read a little after the generator's clock: what was answered in that time is taken from its rate.
  const requests = (m.generated.answered / m.generated.seconds) * elapsed;
  const cpu = cpuPerFrame(m.before, m.after, requests);
  return finish(b, job, round, m, {
    ...{ target: c.name, factors: c.factors, cpuNsPerRequest: cpu, cpuShare },
    serverNsPerRequest: cpu.total + cpu.nic,
  });
}

function finish(
  b: HttpBench,
  { scenario, rate }: Job,
  round: number,
  m: Measured<unknown>,
  part: Pick<HttpRun, 'target' | 'factors' | 'cpuNsPerRequest' | 'serverNsPerRequest' | 'cpuShare'>,
): HttpRun {
  const { generated, idleShare, stealShare } = m;
  const load = { generated, rate, serverShare: Math.max(0, ...Object.values(part.cpuShare)) };
  return {
    ...part,
    ...{ scenario: scenario.name, mode: generated.mode, rate, round, connections: b.settings.connections },
    guests: b.settings.guests,
    requestsPerSecond: generated.answered / generated.seconds,
    gbps: (generated.bodyBytes * 8) / generated.seconds / 1e9,
    ...{ generated, idleShare, stealShare, refused: refusalOf(load), notes: notesOf(load, idleShare) },
  };
}

const titleOf = (job: Job): string => `${job.scenario.name}${job.rate === null ? '' : ` at ${job.rate}/s`}`;
