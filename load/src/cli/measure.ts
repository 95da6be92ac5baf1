/** grantline measure: the inside half of `compare --compose`. It runs where the services can be reached, and tells what
 *  happens as lines of JSON; the outside half (compose/measure.ts) shows and keeps it. Not meant to be typed. */
import type { Command } from 'commander';
import type { HttpPlan, MeasureLine, MeasurePlan } from '../compose/measure.js';
import { runHttp } from '../http/runs.js';
import type { Progress } from '../base/progress.js';
import { compareAll } from '../runner/compare.js';
import { RunError, UserError } from '../base/errors.js';
import { parseRemote, withRemoteBed } from './remote.js';

export function addMeasure(command: Command): void {
  command.requiredOption('--plan <json>', 'what to measure').action(async (args: { plan: string }) => {
    const tell = (line: MeasureLine): void => void process.stdout.write(`${JSON.stringify(line)}\n`);
    try {
      await measure(args.plan, tell);
    } catch (error) {
      if (error instanceof UserError) {
        const { what, remedy } = error;
        tell({ error: { kind: 'user', what, remedy } });
      } else if (error instanceof Error && (error instanceof RunError || error.name === 'HttpError')) {
        tell({ error: { kind: 'run', what: error.message } });
      }
      throw error;
    }
  });
}

async function measure(text: string, tell: (line: MeasureLine) => void): Promise<void> {
  const remote = parseRemote({});
  if (remote === null)
    throw new UserError('GRANTLINE_HYPERVISOR_URL is not set', 'use: npx grantline compare --compose');
  let what: MeasurePlan | HttpPlan;
  try {
    what = JSON.parse(text) as MeasurePlan | HttpPlan;
  } catch {
    throw new UserError('--plan is not JSON', 'use: npx grantline compare --compose');
  }
  const progress: Progress = {
    isLive: what.live,
    line: (line) => tell({ line }),
    live: (live) => tell({ live }),
    clear: () => {},
  };
  if ('kind' in what) {
    const { configs, settings } = what;
    await withRemoteBed(remote, what.guests, (bed) =>
      runHttp({ bed, configs, settings, name: 'http', progress, onRun: (record) => tell({ record }) }),
    );
    return;
  }
  const { plan, repeat } = what;
  await withRemoteBed(remote, what.guests, (bed) =>
    compareAll(bed, what.configs, plan, repeat, progress, (record) => tell({ record })),
  );
}
