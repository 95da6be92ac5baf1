/** compare --compose and http --compose, the outside half: what measures runs in a container of the deployment's own networks, since
 *  services announce addresses that are good only there, and what it tells is shown and kept here. This half gives a plan to the
 *  inside half (cli/measure.ts), which tells what happens as lines of JSON. */
import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { run } from 'docker-compose';
import type { Configuration } from '@grantline/base';
import type { HttpRun, HttpSettings } from '../http/plan.js';
import type { RunRecord, RunPlan } from '../runner/record.js';
import type { Progress } from '../base/progress.js';
import { RunError, UserError } from '../base/errors.js';
import { session } from '../control/session.js';
import { containerLog, docker, CORE_SERVICES, Deployment } from './deployment.js';

/** What is to be measured. */
export interface MeasurePlan {
  configs: Configuration[];
  plan: RunPlan;
  guests: number;
  repeat: number;
  /** Somebody sees the live line. */
  live: boolean;
}

/** The same for a load by HTTP. */
export interface HttpPlan {
  kind: 'http';
  configs: Configuration[];
  settings: HttpSettings;
  guests: number;
  live: boolean;
}

/** A line of output. */
export type MeasureLine =
  | { live: string }
  | { line: string }
  | { record: RunRecord | HttpRun }
  | { error: { kind: 'user'; what: string; remedy: string } | { kind: 'run'; what: string } };

/** http --compose: the load runs in a container beside the NIC, as the comparison does. @throws UserError, RunError */
export function httpInContainers(
  what: Pick<HttpPlan, 'configs' | 'settings'>,
  progress: Progress,
  onRun: (run: HttpRun) => void,
): Promise<HttpRun[]> {
  const { configs, settings } = what;
  const kinds = (settings.capacity ? 1 : 0) + settings.rates.length;
  const wanted = (configs.length + 1) * settings.scenarios.length * kinds * settings.repeat;
  const plan: HttpPlan = { kind: 'http', configs, settings, guests: settings.guests, live: progress.isLive };
  return measureInContainers<HttpRun>(plan, wanted, progress, onRun);
}

const EXPERIMENTER = 'experimenter';

/** Uses the deployment that runs, pausing what cycles on it; or brings up one for as long as it takes.
 *  @param wanted how many runs it makes @throws UserError, RunError */
export async function measureInContainers<T>(
  what: MeasurePlan | HttpPlan,
  wanted: number,
  progress: Progress,
  onRecord: (record: T) => void,
): Promise<T[]> {
  const deployment = await Deployment.open();
  const own = !(await deployment.isRunning());
  const cycles = !own && (await deployment.isRunning(EXPERIMENTER));
  const name = `grantline-measure-${process.pid}-${randomBytes(3).toString('hex')}`;
  let runs = false;
  const stop = async (): Promise<void> => {
    progress.live('putting things back');
    await deployment.halt();
    if (runs) await remove(name, own);
    if (own) await deployment.down();
    else if (cycles) await deployment.startService(EXPERIMENTER);
    progress.clear();
  };
  // A container cannot be ended without waiting for Docker: after a second signal the first one's work goes on there.
  return session({ stop, killNow: () => {} }, null, async () => {
    if (own) {
      await deployment.up(what.guests, progress, CORE_SERVICES);
      await deployment.untilReady(what.guests, progress, CORE_SERVICES);
      progress.line(`Containers ready (${deployment.engine.command}).`);
    } else {
      progress.line(`Using the containers that run${cycles ? '; their cycle of configurations pauses' : ''}.`);
      if (cycles) await deployment.stopService(EXPERIMENTER);
    }
    runs = true;
    return inside(deployment, name, what, wanted, progress, onRecord);
  });
}

const REMOVE_TRIES = 4;
const REMOVE_PAUSE_MS = 300;

/** Removes the container of a measurement. @param own the whole deployment goes: nothing in it has to be left as it was */
async function remove(name: string, own: boolean): Promise<void> {
  // It ends its load when it is asked to end.
  if (!own) await docker('stop', '-t', '3', name);
  // One that was just to be made appears a moment after Compose was ended.
  for (let tries = 1; (await docker('rm', '-f', name)) === null && tries < REMOVE_TRIES; tries++)
    await sleep(REMOVE_PAUSE_MS);
}

async function inside<T>(
  deployment: Deployment,
  name: string,
  what: MeasurePlan | HttpPlan,
  wanted: number,
  progress: Progress,
  onRecord: (record: T) => void,
): Promise<T[]> {
  const records: T[] = [];
  const failure: { error: Error | null } = { error: null };
  let known = 0;
  const take = (line: MeasureLine): void => {
    if ('live' in line) progress.live(line.live);
    else if ('line' in line) progress.line(line.line);
    else if ('record' in line) {
      if (known++ < records.length) return;
      // The plan says what runs are made.
      records.push(line.record as T);
      onRecord(line.record as T);
    } else {
      const { error } = line;
      failure.error = error.kind === 'user' ? new UserError(error.what, error.remedy) : new RunError(error.what);
    }
  };
  const reader = new LineReader(take);
  const command = ['node', 'load/bin/grantline.mjs', 'measure', '--plan', JSON.stringify(what)];
  let failed: unknown = null;
  try {
    await deployment.compose(() =>
      run(EXPERIMENTER, command, {
        ...deployment.engine.options,
        // Removed by `remove`, after its log was read. Prometheus reads it in the place of the one that pauses.
        commandOptions: ['--no-deps', '--use-aliases', '--name', name],
        callback: (chunk, from) => {
          if (from !== 'stderr') reader.push(chunk);
        },
      }),
    );
  } catch (error) {
    failed = error;
  }
  if (records.length < wanted && failure.error === null) {
    // The old binary sometimes stops listening before the container has ended, or with its last words under way.
    const exitCode = await docker('wait', name);
    const log = await containerLog(name);
    known = 0;
    new LineReader((line) => ('record' in line || 'error' in line ? take(line) : undefined)).push(
      Buffer.from(`${log?.out ?? ''}\n`),
    );
    if (records.length < wanted && failure.error === null && failed === null)
      failed = new RunError(`the container told of ${records.length} of ${wanted} runs: ${endOf(exitCode, log)}`);
  }
  if (failure.error !== null) throw failure.error;
  if (failed !== null) throw failed as Error;
  return records;
}

const TAIL_CHARS = 300;

/** How a container ended that told too little: its exit code and the end of what it wrote. */
function endOf(exitCode: string | null, log: { out: string; err: string } | null): string {
  const code = exitCode === null ? 'its exit code is not known' : `exit code ${exitCode}`;
  if (log === null) return `${code}; its log cannot be read`;
  const err = log.err.trim().slice(-TAIL_CHARS);
  const cut = log.out === '' || log.out.endsWith('\n') ? '' : ', the last line not whole';
  return `${code}; it wrote ${log.out.length} characters${cut}, and ${err === '' ? 'no error' : `at last: ${err}`}`;
}

/** Puts chunks together to lines of JSON. What is none is Compose's own talk. */
export class LineReader {
  private readonly onLine: (line: MeasureLine) => void;
  private pending = Buffer.alloc(0);

  constructor(onLine: (line: MeasureLine) => void) {
    this.onLine = onLine;
  }

  push(chunk: Buffer): void {
    const all = Buffer.concat([this.pending, chunk]);
    let from = 0;
    for (let at = all.indexOf(10); at >= 0; at = all.indexOf(10, from)) {
      this.line(all.toString('utf8', from, at).trim());
      from = at + 1;
    }
    this.pending = all.subarray(from);
  }

  private line(text: string): void {
    if (!text.startsWith('{')) return;
    try {
      this.onLine(JSON.parse(text) as MeasureLine);
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error;
    }
  }
}
