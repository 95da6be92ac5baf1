/** grantline compare: all configurations with generated frames, a table, and results as JSON. */
import { basename, resolve, relative, join } from 'node:path';
import type { Command } from 'commander';
import { configurationNames, type Configuration } from '@grantline/shared/config/factors.js';
import { hostInfo } from '../report/host.js';
import { terminalProgress } from '../report/progress.js';
import { checkWritable, resultsDir, writeJson, type CompareFile, type CompareSettings } from '../report/results.js';
import { compareTable, runLine } from '../report/table.js';
import { compareAll, summarise, verdict } from '../runner/compare.js';
import { REQUEST_BYTES, REQUEST_TIMEOUT_MS, type RequestPlan } from '../runner/requests.js';
import type { RunRecord } from '../runner/record.js';
import type { Bed, RunPlan } from '../runner/run.js';
import { UserError } from './errors.js';
import {
  parseConfigs,
  parseBeside,
  parseDirection,
  parseFaultsOption,
  parseFlows,
  parseFrame,
  parseGuests,
  parseInFlight,
  parseLink,
  parsePage,
  parseProtocol,
  parseRepeat,
  parseRequestRate,
  parseSeconds,
  parseSeed,
  parseSets,
  parseWarmup,
  parseWorkload,
} from './options.js';
import { chooseTarget, HYPERVISOR_OPTION, TOKEN_OPTION, withRemoteBed, type RemoteArguments } from './remote.js';
import { NO_PAGE_OPTION, PAGE_OPTION } from './page.js';
import { reportLine } from '../report/report-line.js';
import { withBed } from './with-bed.js';

export interface CompareArguments extends RemoteArguments {
  configs?: string;
  direction: string;
  workload: string;
  set: string[];
  base: string;
  guests: string;
  frame?: string;
  inflight: string;
  beside: string;
  rate?: string;
  faults?: string;
  seconds: string;
  warmup: string;
  link: string;
  pause: boolean;
  pin: boolean;
  protocol: string;
  flows?: string;
  repeat: string;
  seed: string;
  json?: string;
  /** false: --no-page. */
  page?: string | false;
  dir?: string;
  /** In containers. */
  compose?: true;
}

const collect = (value: string, all: string[]): string[] => [...all, value];

export function addCompare(program: Command): void {
  program
    .command('compare')
    .description('measure configurations with generated frames and compare them')
    .option('--configs <a,b>', `which of ${configurationNames.join(', ')} (default: all)`)
    .option(
      '--set <factor=value>',
      'add a configuration "custom": --base with this factor changed; can be given several times',
      collect,
      [],
    )
    .option('--base <config>', 'what --set changes', 'optimised')
    .option('--direction <name>', 'rx (to the guests), tx (from the guests) or both', 'rx')
    .option(
      '--workload <name>',
      "load (generated at the far end, or by the guests), guest-to-guest, rr (requests and their answers), or tcp (streams to the guests' own TCP/IP stack)",
      'load',
    )
    .option('--inflight <a,b>', 'rr: requests that are out at once, a series of runs for each', '1,32')
    .option('--beside <what>', 'rr: idle (nothing else), bulk (1514-byte frames the same way) or both', 'both')
    .option('--rate <n>', 'rr: open loop, so many requests a second (default: closed loop)')
    .option(
      '--faults <list>',
      'on the cable: loss=0.01,reorder=0.01,duplicate=,corrupt=,delay=,delay-us=,direction=,seed=',
    )
    .option('--guests <n>', '1 to 32; the load is spread evenly', '1')
    .option('--frame <bytes>', '60 to 9014 with Ethernet header and without FCS, or imix (default: 1514; rr: 60)')
    .option('--seconds <s>', 'measured time of each run', '3')
    .option('--warmup <s>', 'load before measuring starts', '1')
    .option('--link <gbps>', 'link speed in Gb/s, or max', 'max')
    .option('--no-pause', 'no flow control: what the NIC cannot take is lost')
    .option('--no-pin', 'leave all threads to the scheduler (own testbed only)')
    .option('--protocol <name>', 'auto, tcp or udp', 'auto')
    .option('--flows <n>', 'flows to each guest (default: 4), or TCP streams (default: 1)')
    .option('--repeat <r>', 'runs of each configuration, interleaved', '1')
    .option('--seed <n>', 'of the generator', '1')
    .option(...PAGE_OPTION)
    .option(...NO_PAGE_OPTION)
    .option('--json <file>', 'write the results here too')
    .option('--compose', 'on the testbed in containers (docker-compose.yml)')
    .option(...HYPERVISOR_OPTION)
    .option(...TOKEN_OPTION)
    .option('--dir <dir>', 'directory of the testbed (default: GRANTLINE_DIR, or one per user in /dev/shm)')
    .action(async (args: CompareArguments) => {
      await compare(args);
    });
}

/** Checks everything first; then runs. @throws UserError, RunError */
export async function compare(args: CompareArguments): Promise<CompareFile> {
  const workload = parseWorkload(args.workload);
  const between = workload === 'guest-to-guest';
  const rr = workload === 'rr';
  const faults = parseFaultsOption(args.faults);
  const requests = rr ? requestPlans(args) : [];
  const tcp = workload === 'tcp';
  const configs = between ? betweenConfigs(args) : tcp ? tcpConfigs(args) : chosen(args);
  const frame = args.frame ?? (rr ? String(REQUEST_BYTES) : '1514');
  const frameSizes = parseFrame(frame);
  if (rr && frameSizes.length > 1) throw new UserError('requests have one size', 'give --frame a number');
  const directions = between ? (['guest-to-guest'] as const) : rr ? (['rr'] as const) : parseDirection(args.direction);
  const settings: CompareSettings = {
    directions: [...directions],
    guests: between ? Math.max(2, parseGuests(args.guests)) : parseGuests(args.guests),
    frameBytes: frame === 'imix' ? 'imix' : frameSizes[0],
    frameSizes,
    seconds: parseSeconds(args.seconds),
    warmup: parseWarmup(args.warmup),
    linkGbps: parseLink(args.link),
    flowControl: args.pause,
    protocol: parseProtocol(args.protocol),
    flows: tcp && args.flows === undefined ? 1 : parseFlows(args.flows ?? '4'),
    repeat: parseRepeat(args.repeat),
    seed: parseSeed(args.seed),
    ...(faults === null ? {} : { faults: args.faults ?? null }),
  };
  checkFlows(settings);
  const page = parsePage(args.page);
  const target = chooseTarget(args);
  if (args.json !== undefined) checkWritable(args.json);

  const host = hostInfo();
  const dir = resultsDir(host, new Date());
  const progress = terminalProgress();
  const { guests, repeat } = settings;
  const common = { ...settings, protocol: parseProtocol(args.protocol), name: basename(dir), faults };
  const plans: RunPlan[] = rr
    ? requests.map((plan) => ({ ...common, direction: 'rr' as const, rr: plan }))
    : directions.map((direction) => ({ ...common, direction, ...(tcp ? { streams: settings.flows } : {}) }));
  const onRecord = (r: RunRecord): void => progress.line(runLine(r, r.round, repeat));
  const onBed = async (bed: Bed): Promise<RunRecord[]> => {
    const all: RunRecord[] = [];
    for (const plan of plans) all.push(...(await compareAll(bed, configs, plan, repeat, progress, onRecord)));
    return all;
  };
  let records: RunRecord[];
  if (target === 'compose') {
    // Loaded only where it is used: it brings a parser for YAML with it.
    const { measureInStack } = await import('../compose/measure.js');
    records = [];
    for (const plan of plans)
      records.push(
        ...(await measureInStack<RunRecord>(
          { configs, plan, guests, repeat, live: progress.isLive },
          configs.length * repeat,
          progress,
          onRecord,
        )),
      );
  } else if (target !== null) {
    records = await withRemoteBed(target, guests, onBed);
  } else {
    const logDir = join(dir, 'logs');
    records = await withBed({ dir: args.dir, guests, pin: args.pin, logDir, progress, page }, onBed);
  }
  const file: CompareFile = {
    schema: 'grantline.compare/1',
    date: new Date().toISOString(),
    commandLine: process.argv.slice(2),
    host,
    settings,
    results: summarise(configs, records),
    runs: records,
  };
  const path = join(dir, 'compare.json');
  writeJson(path, file);
  if (args.json !== undefined) writeJson(resolve(args.json), file);
  progress.clear();
  process.stdout.write(`${compareTable(file.results, settings, { colour: process.stdout.isTTY })}\n`);
  process.stdout.write(
    `Results: ${relative(process.cwd(), path) || path}${args.json === undefined ? '' : ` and ${args.json}`}\n`,
  );
  const failed = verdict(records);
  try {
    // Loaded when there is something to report: plots and schemas take longer to load than all else of the command.
    const { writeReport } = await import('../report/write.js');
    process.stdout.write(reportLine(dir, writeReport(dir, { csv: false })));
  } catch (error) {
    // What is wrong with the run is more than a disk without room for the report.
    if (!failed) throw error;
  }
  if (failed) throw failed;
  return file;
}

/** Flows carry their number in each frame: there is room for 2048. */
const MAX_FLOWS = 2048;
/** Shortest TCP frame with timestamps and the receiver's stamp. */
const MIN_TCP_BYTES = 84;

function checkFlows(s: CompareSettings): void {
  if (s.flows * s.guests > MAX_FLOWS)
    throw new UserError(
      `${s.flows} flows to each of ${s.guests} guests are too many`,
      `take at most ${Math.floor(MAX_FLOWS / s.guests)} flows`,
    );
  if (s.protocol === 'tcp' && Math.min(...s.frameSizes) < MIN_TCP_BYTES) {
    throw new UserError(
      `frames of ${Math.min(...s.frameSizes)} bytes cannot be TCP`,
      `take at least ${MIN_TCP_BYTES} bytes, or --protocol auto or udp`,
    );
  }
}

/** The series of runs: alone, then beside bulk, each with all numbers in flight. */
function requestPlans(args: CompareArguments): RequestPlan[] {
  const inFlight = parseInFlight(args.inflight);
  const perSecond = parseRequestRate(args.rate);
  return parseBeside(args.beside).flatMap((beside) =>
    inFlight.map((n) => ({ inFlight: n, beside, perSecond, timeoutMs: REQUEST_TIMEOUT_MS })),
  );
}

/** Those in which the guest has a TCP/IP stack of its own. */
function tcpConfigs(args: CompareArguments): Configuration[] {
  const all = chosen(args);
  const own = all.filter((c) => c.factors.path !== 'native');
  if (args.configs !== undefined && own.length < all.length)
    throw new UserError(
      'in native nothing of the guest is in the path, its TCP/IP stack neither',
      'take baseline, multiqueue, grant-reuse, optimised or direct',
    );
  return own;
}

/** Those in which the driver domain has a bridge between guests. */
function betweenConfigs(args: CompareArguments): Configuration[] {
  const all = chosen(args);
  const able = all.filter((c) => c.factors.path !== 'native');
  if (args.configs !== undefined && able.length < all.length)
    throw new UserError(
      `${all.find((c) => c.factors.path === 'native')!.name} has no guests to send to each other`,
      'take baseline, multiqueue, grant-reuse, optimised or direct',
    );
  return able;
}

function chosen(args: CompareArguments): Configuration[] {
  // --set alone compares the base with the changed one: that is what it is asked for.
  const named = args.configs ?? (args.set.length > 0 ? args.base : configurationNames.join(','));
  const configs = parseConfigs(named);
  if (args.set.length > 0) configs.push(parseSets(args.set, args.base));
  if (configs.length === 0)
    throw new UserError('no configuration is named', `known are ${configurationNames.join(', ')}`);
  return configs;
}
