/** npm run bench: all scenarios, one table of what was asked for and what was reached, JSON with every run. */
import { join, relative } from 'node:path';
import { Command, CommanderError } from 'commander';
import { allowedCores } from '@grantline/base';
import { runOnCores } from '@grantline/machine';
import { exitCodeOf, Interrupted, RunError, UserError } from '../base/errors.js';
import { parseRepeat, parseSeconds } from '../base/option-values.js';
import { withBed } from '../bed/with-bed.js';
import { measuredAfter, parsePlacement, PLACEMENT_OPTION, type PlacementRecord } from '../testbed/placement.js';
import { beginResults, fileHead, writeJson } from '../report/results.js';
import { writeUserFile } from '../base/user-file.js';
import { warmUp } from '../runner/compare.js';
import { mustFit, named, plan, type BenchSettings, type Measured } from './scenario.js';
import { SCENARIOS } from './scenarios.js';
import { benchMarkdown, benchTable, coresTable, judgeCheck, lowerTable, machineLine } from './checks.js';

interface BenchArguments {
  runs: string;
  seconds: string;
  linkSeconds: string;
  idleSeconds: string;
  only?: string;
  json?: string;
  markdown?: string;
  placement?: string;
  dir?: string;
}

/** @returns true when all that is asked for was reached */
async function bench(args: BenchArguments): Promise<boolean> {
  const settings: BenchSettings = {
    runs: parseRepeat(args.runs),
    seconds: parseSeconds(args.seconds),
    linkSeconds: parseSeconds(args.linkSeconds),
    idleSeconds: parseSeconds(args.idleSeconds),
  };
  const names = args.only?.split(',') ?? SCENARIOS.map((s) => s.name);
  const unknown = names.find((n) => !SCENARIOS.some((s) => s.name === n));
  if (unknown !== undefined)
    throw new UserError(`unknown scenario "${unknown}"`, `known are ${SCENARIOS.map((s) => s.name).join(', ')}`);

  const { json, host, dir, progress } = beginResults(args.json);
  const placement = parsePlacement(args);
  const all: ({ scenario: string; placement: PlacementRecord | null } & Measured)[] = [];
  for (const scenario of SCENARIOS.filter((s) => names.includes(s.name))) {
    progress.line(`${scenario.name}:`);
    const logDir = join(dir, 'logs', scenario.name);
    const options = { dir: args.dir, guests: scenario.guests, placement, logDir, progress };
    const work = (): Promise<{ placement: PlacementRecord | null } & Measured> =>
      withBed(options, async (bed) => {
        mustFit(scenario, bed);
        if (scenario.cold !== true) await warmUp(bed, named('optimised'), plan({}), progress);
        const measured = await scenario.run(bed, settings, progress);
        return { placement: bed.placed ? await measuredAfter(bed.placed) : null, ...measured };
      });
    const out = await (scenario.oneCore === true ? onOneCore(work) : work());
    all.push({ scenario: scenario.name, ...out });
    // After each: a bench that is interrupted has what it measured.
    const file = { ...fileHead('grantline.bench/1', host), settings, scenarios: all };
    writeJson(join(dir, 'bench.json'), file);
    await json.write(file);
  }
  progress.clear();
  const checks = all.flatMap((s) => s.checks);
  const tables = [...all.flatMap((s) => s.tables ?? []), coresTable(all)];
  json.text.write(`${[benchTable(checks), ...tables.map(lowerTable)].join('\n')}\n`);
  json.text.write(`${machineLine(host, settings)}\n`);
  if (args.markdown !== undefined) {
    const text = benchMarkdown(checks, tables, host, settings, new Date().toISOString(), process.argv.slice(2));
    await writeUserFile(args.markdown, text, '--markdown');
  }
  json.text.write(`Results: ${relative(process.cwd(), join(dir, 'bench.json'))}\n`);
  return checks.every((c) => judgeCheck(c) === 'PASS');
}

/** All that `work` starts has the first of our cores for itself, as this thread has. */
async function onOneCore<T>(work: () => Promise<T>): Promise<T> {
  const cores = allowedCores();
  if (!runOnCores(cores.slice(0, 1))) throw new RunError('this process cannot be kept on one core');
  try {
    return await work();
  } finally {
    runOnCores(cores);
  }
}

const program = new Command('bench')
  .description('measures the speed list and says what was reached')
  .option('--runs <r>', 'runs of each, interleaved', '5')
  .option('--seconds <s>', 'of each run', '3')
  .option('--link-seconds <s>', 'of the run at 10 Gb/s', '10')
  .option('--idle-seconds <s>', 'of each look at an idle testbed', '10')
  .option('--only <a,b>', `scenarios: ${SCENARIOS.map((s) => s.name).join(', ')}`)
  .option('--json <file>', 'write the results here too')
  .option('--markdown <file>', 'write the table here as Markdown')
  .option(...PLACEMENT_OPTION)
  .option('--dir <dir>', 'directory of the testbed')
  .exitOverride()
  .configureOutput({ writeErr: () => {} });

let exitCode: number;
try {
  program.parse(process.argv.slice(2), { from: 'user' });
  // A figure that falls short is a finding, not a failure of the program: 3, so that scripts can tell.
  exitCode = (await bench(program.opts<BenchArguments>())) ? 0 : 3;
} catch (error) {
  if (error instanceof CommanderError) {
    if (error.exitCode !== 0)
      process.stderr.write(`grantline: ${error.message.replace(/^error: /, '')} - see npm run bench -- --help\n`);
    exitCode = error.exitCode === 0 ? 0 : 2;
  } else {
    const text =
      error instanceof UserError || error instanceof RunError || error instanceof Interrupted
        ? error.message
        : error instanceof Error
          ? (error.stack ?? error.message)
          : String(error);
    process.stderr.write(`grantline: ${text}\n`);
    exitCode = exitCodeOf(error);
  }
}
process.exit(exitCode);
