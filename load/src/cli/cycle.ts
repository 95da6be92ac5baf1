/** grantline cycle: comparisons on a running testbed, one after another, until it is interrupted. */
import { printable, configurationNames } from '@grantline/base';
import type { Command } from 'commander';
import { Client } from '../control/client.js';
import { parseSeconds } from '../base/option-values.js';
import { remotePage } from '../live/board.js';
import type { Shown } from '../prometheus/server.js';
import { Cycle } from '../runner/cycle.js';
import { observers, type Observer } from '../runner/observer.js';
import { required } from '../testbed/discover.js';
import { testbedDir } from '../testbed/paths.js';
import { takeRunLock } from '../testbed/run-lock.js';
import { DIR_OPTION, parseConfigs, parseFrame, parseGuests, parseLink, parseSeed, parseWarmup } from './options.js';
import {
  HYPERVISOR_OPTION,
  TOKEN_OPTION,
  parseRemote,
  remoteClient,
  shownHere,
  type RemoteArguments,
} from './remote.js';
import { tokenAt } from '../bed/page.js';
import { session, UNWIND_MS } from '../control/session.js';

interface CycleArguments extends RemoteArguments {
  seconds: string;
  warmup: string;
  configs?: string;
  guests: string;
  frame: string;
  link: string;
  seed: string;
  dir?: string;
}

export function addCycle(command: Command): void {
  command
    .option('--seconds <s>', 'measured time of each run', '4')
    .option('--warmup <s>', 'load before measuring starts', '1')
    .option('--configs <a,b>', `which of ${configurationNames.join(', ')} (default: all)`)
    .option('--guests <n>', '1 to 32, or all that there are at each run', 'all')
    .option('--frame <bytes>', '60 to 9014 with Ethernet header and without FCS, or imix', '1514')
    .option('--link <gbps>', 'link speed in Gb/s, or max', 'max')
    .option('--seed <n>', 'of the generator', '1')
    .option(...HYPERVISOR_OPTION)
    .option(...TOKEN_OPTION)
    .option(...DIR_OPTION)
    .action(cycle);
}

async function cycle(args: CycleArguments): Promise<void> {
  const remote = parseRemote(args);
  const say = (line: string): void => void process.stdout.write(`${printable(line, 4000)}\n`);
  const options = {
    configs: parseConfigs(args.configs ?? configurationNames.join(',')),
    guests: args.guests === 'all' ? null : parseGuests(args.guests),
    plan: {
      direction: 'rx' as const,
      frameSizes: parseFrame(args.frame),
      seconds: parseSeconds(args.seconds),
      warmup: parseWarmup(args.warmup),
      linkGbps: parseLink(args.link),
      flowControl: true,
      protocol: 'auto' as const,
      flows: 4,
      seed: parseSeed(args.seed),
    },
    say,
  };
  let release = (): void => {};
  let shown: Shown | null = null;
  let client: () => Client;
  let observer: Observer;
  if (remote === null) {
    const dir = testbedDir(args.dir);
    const { file } = required(dir);
    release = takeRunLock(dir);
    client = () => Client.open(file.hypervisor, file.token);
    observer = observers(...(file.page === undefined ? [] : [remotePage(file.page, tokenAt(file.token))]));
  } else {
    shown = await shownHere();
    client = () => remoteClient(remote);
    observer = observers(...(shown === null ? [] : [shown.experiment]));
  }
  const running = new Cycle({ ...options, client, observer });
  const stop = async (): Promise<void> => {
    await Promise.all([running.stop(UNWIND_MS), shown?.close()]);
    release();
  };
  await session({ stop, killNow: release }, null, () => running.run());
}
