/** grantline http: the guests' web application under load, beside the same application on plain loopback. */
import { basename } from 'node:path';
import type { Command } from 'commander';
import { configurationNames, type Configuration } from '@grantline/base';
import { runHttp } from '../http/runs.js';
import { parseScenarios, type HttpFile, type HttpRun, type HttpSettings } from '../http/plan.js';
import { httpVerdict, summariseHttp } from '../http/verdict.js';
import { httpTable } from '../report/table.js';
import { beginResults, fileHead, reportLine, tellResults } from '../report/results.js';
import type { Bed } from '../runner/bed.js';
import { UserError } from '../base/errors.js';
import {
  measuredAfter,
  NO_PIN_OPTION,
  parsePlacement,
  PLACEMENT_OPTION,
  placementLines,
  type PlacementRecord,
} from '../testbed/placement.js';
import { parseRepeat, parseSeconds } from '../base/option-values.js';
import {
  DIR_OPTION,
  NO_PAGE_OPTION,
  PAGE_NAME_OPTION,
  PAGE_OPTION,
  parseConfigs,
  parseConnections,
  parseGuests,
  parsePage,
  parseRates,
  parseWarmup,
} from './options.js';
import { chooseTarget, HYPERVISOR_OPTION, TOKEN_OPTION, onTestbed, type RemoteArguments } from './remote.js';

interface HttpArguments extends RemoteArguments {
  configs?: string;
  scenario: string;
  connections: string;
  rate?: string;
  capacity: boolean;
  guests: string;
  seconds: string;
  warmup: string;
  repeat: string;
  json?: string;
  page?: string | false;
  pageName?: string;
  pin: boolean;
  placement?: string;
  dir?: string;
  compose?: true;
}

/** Those in which a guest has a stack: in native the driver domain is the receiver. */
const SERVED = configurationNames.filter((name) => name !== 'native');

export function addHttp(command: Command): void {
  command
    .option('--configs <a,b>', `which of ${SERVED.join(', ')} (default: all)`)
    .option('--scenario <a,b>', 'json, bytes:1M, upload:1M, chunked:1M/16K, ws:128', 'json,bytes:1M')
    .option('--connections <n>', '1 to 1000, over all guests', '50')
    .option('--rate <r,r>', 'open loop too: requests per second by a schedule')
    .option('--no-capacity', 'open loop only')
    .option('--guests <n>', '1 to 32; connections are spread evenly', '1')
    .option('--seconds <s>', 'measured time of each run', '3')
    .option('--warmup <s>', 'load before measuring starts', '1')
    .option('--repeat <r>', 'runs of each configuration, interleaved', '1')
    .option(...PLACEMENT_OPTION)
    .option(...NO_PIN_OPTION)
    .option(...PAGE_OPTION)
    .option(...PAGE_NAME_OPTION)
    .option(...NO_PAGE_OPTION)
    .option('--json <file>', 'write the results here too')
    .option('--compose', 'on the testbed in containers (docker-compose.yml)')
    .option(...HYPERVISOR_OPTION)
    .option(...TOKEN_OPTION)
    .option(...DIR_OPTION)
    .action(http);
}

async function http(args: HttpArguments): Promise<void> {
  const configs = chosen(args);
  const settings: HttpSettings = {
    scenarios: parseScenarios(args.scenario),
    rates: args.rate === undefined ? [] : parseRates(args.rate),
    capacity: args.capacity,
    connections: parseConnections(args.connections),
    guests: parseGuests(args.guests),
    seconds: parseSeconds(args.seconds),
    warmup: parseWarmup(args.warmup),
    repeat: parseRepeat(args.repeat),
  };
  check(settings);
  const page = parsePage(args.page, args.pageName);
  const placement = parsePlacement(args);
  const target = chooseTarget(args);
  const { json, host, dir, logDir, progress } = beginResults(args.json);
  const onRun = (r: HttpRun): void => {
    const l = r.generated.latencyUs;
    const what = `${r.scenario}${r.rate === null ? '' : ` at ${r.rate}/s`}`;
    const figures =
      r.refused === null
        ? `${r.requestsPerSecond.toFixed(0)} requests/s${r.gbps >= 0.1 ? `, ${r.gbps.toFixed(2)} Gb/s` : ''}, median ${l?.p50 ?? '-'} µs`
        : `void: ${r.refused}`;
    progress.line(`${r.target}: ${what}: ${figures}`);
  };
  let runs: HttpRun[];
  let placed: PlacementRecord | null = null;
  if (target === 'compose') {
    const { httpInContainers } = await import('../compose/measure.js');
    runs = await httpInContainers({ configs, settings }, progress, onRun);
  } else {
    const work = async (bed: Bed): Promise<HttpRun[]> => {
      const all = await runHttp({ bed, configs, settings, name: basename(dir), progress, onRun });
      if (bed.placed) placed = await measuredAfter(bed.placed);
      return all;
    };
    const { guests } = settings;
    runs = await onTestbed(target, { dir: args.dir, guests, placement, logDir, progress, page }, work);
  }
  const all = summariseHttp(runs);
  const file: HttpFile = {
    ...fileHead('grantline.http/1', host),
    settings,
    ...(placed === null ? {} : { placement: placed }),
    capacity: all.filter((s) => s.mode === 'closed'),
    atRate: all.filter((s) => s.mode === 'open'),
    runs,
  };
  const told = await tellResults(dir, 'http.json', json, file);
  progress.clear();
  json.text.write(
    `${[httpTable(file), ...(file.placement ? placementLines(file.placement) : [])].join('\n')}\n${told}`,
  );
  const { writeHttpReport } = await import('../report/write.js');
  json.text.write(reportLine(dir, writeHttpReport(dir)));
  const failed = httpVerdict(runs);
  if (failed) throw failed;
}

function chosen(args: HttpArguments): Configuration[] {
  const configs = parseConfigs(args.configs ?? SERVED.join(','));
  if (configs.some((c) => c.factors.path === 'native'))
    throw new UserError('in native no guest takes part that could answer', `take ${SERVED.join(', ')}`);
  return configs;
}

/** The generator holds a body for each connection that sends one. */
const MAX_HELD_BYTES = 512 << 20;

function check(s: HttpSettings): void {
  if (!s.capacity && s.rates.length === 0)
    throw new UserError('--no-capacity leaves nothing to run', 'give --rate, or leave --no-capacity out');
  if (s.connections < s.guests)
    throw new UserError(
      `${s.connections} connections cannot reach ${s.guests} guests`,
      `give --connections ${s.guests} or more`,
    );
  const held = Math.max(0, ...s.scenarios.map((x) => (x.kind === 'upload' ? x.bytes : 0)));
  if (held * s.connections > MAX_HELD_BYTES)
    throw new UserError(
      `bodies of ${held} bytes on ${s.connections} connections are more than the generator holds`,
      `take at most ${Math.max(1, Math.floor(MAX_HELD_BYTES / held))} connections, or smaller bodies`,
    );
}
