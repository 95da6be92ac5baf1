/** grantline compare: all configurations with generated frames, a table, and results as JSON. */
import { basename } from 'node:path';
import type { Command } from 'commander';
import { configurationNames } from '@grantline/base';
import { beginResults, fileHead, reportLine, tellResults, type CompareFile } from '../report/results.js';
import { compareTable, runLine } from '../report/table.js';
import { compareAll, summarise, verdict, warmUp } from '../runner/compare.js';
import type { RunRecord, RunPlan } from '../runner/record.js';
import type { Bed } from '../runner/bed.js';
import { planOf, type CompareArguments } from './compare-plan.js';
import {
  measuredAfter,
  NO_PIN_OPTION,
  parsePlacement,
  PLACEMENT_OPTION,
  placementLines,
  type PlacementRecord,
} from '../testbed/placement.js';
import { DIR_OPTION, NO_PAGE_OPTION, PAGE_NAME_OPTION, PAGE_OPTION, parsePage } from './options.js';
import { chooseTarget, HYPERVISOR_OPTION, TOKEN_OPTION, onTestbed } from './remote.js';
import { OWN_TESTBED } from '../bed/with-bed.js';

const collect = (value: string, all: string[]): string[] => [...all, value];

export function addCompare(command: Command): void {
  command
    .option('--configs <a,b>', `which of ${configurationNames.join(', ')} (default: all)`)
    .option(
      '--set <factor=value>',
      'add a configuration "custom": --base with this factor changed; can be given several times',
      collect,
      [],
    )
    .option('--base <config>', 'what --set changes (default: optimised)')
    .option('--direction <name>', 'rx (to the guests), tx (from the guests) or both (default: rx)')
    .option(
      '--workload <name>',
      "load (generated at the far end, or by the guests), guest-to-guest, rr (requests and their answers), or tcp (streams to the guests' own TCP/IP stack)",
      'load',
    )
    .option('--inflight <a,b>', 'rr: requests that are out at once, a series of runs for each (default: 1,32)')
    .option('--beside <what>', 'rr: idle (nothing else), bulk (1514-byte frames the same way) or both (default: both)')
    .option('--rate <n>', 'rr: open loop, so many requests a second (default: closed loop)')
    .option(
      '--faults <list>',
      'on the cable: loss=0.01,reorder=0.01,duplicate=,corrupt=,delay=,delay-us=,direction=,seed=',
    )
    .option('--guests <n>', '1 to 32; the load is spread evenly (default: 1; guest-to-guest: 2)')
    .option('--frame <bytes>', '60 to 9014 with Ethernet header and without FCS, or imix (default: 1514; rr: 60)')
    .option('--seconds <s>', 'measured time of each run', '3')
    .option('--warmup <s>', 'load before measuring starts', '1')
    .option('--link <gbps>', 'link speed in Gb/s, or max', 'max')
    .option('--no-pause', 'no flow control: what the NIC cannot take is lost')
    .option(...PLACEMENT_OPTION)
    .option(...NO_PIN_OPTION)
    .option('--protocol <name>', 'auto, tcp or udp (default: auto)')
    .option('--flows <n>', 'flows to each guest (default: 4), or TCP streams (default: 1)')
    .option('--repeat <r>', 'runs of each configuration, interleaved', '1')
    .option('--seed <n>', 'of the generator', '1')
    .option(...PAGE_OPTION)
    .option(...PAGE_NAME_OPTION)
    .option(...NO_PAGE_OPTION)
    .option('--json <file>', 'write the results here too')
    .option('--compose', 'on the testbed in containers (docker-compose.yml)')
    .option(...HYPERVISOR_OPTION)
    .option(...TOKEN_OPTION)
    .option(...DIR_OPTION)
    .action(async (args: CompareArguments) => {
      await compare(args);
    });
}

/** Checks everything first; then runs. @throws UserError, RunError */
export async function compare(args: CompareArguments): Promise<CompareFile> {
  const { configs, settings, series } = planOf(args);
  const page = parsePage(args.page, args.pageName);
  const placement = parsePlacement(args);
  const target = chooseTarget(args);
  const { json, host, dir, logDir, progress } = beginResults(args.json);
  const { guests, repeat } = settings;
  const plans = series.map((plan): RunPlan => ({ ...plan, name: basename(dir) }));
  const onRecord = (r: RunRecord): void => progress.line(runLine(r, r.round, repeat));
  let placed: PlacementRecord | null = null;
  const onBed = async (bed: Bed): Promise<RunRecord[]> => {
    const all: RunRecord[] = [];
    if (bed.testbed === OWN_TESTBED) await warmUp(bed, configs[0], plans[0], progress);
    settings.testbed = bed.testbed ?? `the one at ${bed.client.hypervisor}`;
    for (const plan of plans) all.push(...(await compareAll(bed, configs, plan, repeat, progress, onRecord)));
    if (bed.placed) placed = await measuredAfter(bed.placed);
    return all;
  };
  let records: RunRecord[];
  if (target === 'compose') {
    // Loaded only where it is used: it brings a parser for YAML with it.
    const { measureInContainers } = await import('../compose/measure.js');
    records = [];
    settings.testbed = 'containers';
    for (const plan of plans)
      records.push(
        ...(await measureInContainers<RunRecord>(
          { configs, plan, guests, repeat, live: progress.isLive },
          configs.length * repeat,
          progress,
          onRecord,
        )),
      );
  } else records = await onTestbed(target, { dir: args.dir, guests, placement, logDir, progress, page }, onBed);
  const file: CompareFile = {
    ...fileHead('grantline.compare/1', host),
    settings,
    ...(placed === null ? {} : { placement: placed }),
    results: summarise(configs, records),
    runs: records,
  };
  const told = await tellResults(dir, 'compare.json', json, file);
  progress.clear();
  const table = compareTable(file.results, file.runs, settings, { colour: json.text.isTTY });
  json.text.write(`${[table, ...(file.placement ? placementLines(file.placement) : [])].join('\n')}\n${told}`);
  const failed = verdict(records);
  try {
    // Loaded when there is something to report: plots and schemas take longer to load than all else of the command.
    const { writeReport } = await import('../report/write.js');
    json.text.write(reportLine(dir, writeReport(dir, { csv: false })));
  } catch (error) {
    // What is wrong with the run is more than a disk without room for the report.
    if (!failed) throw error;
  }
  if (failed) throw failed;
  return file;
}
