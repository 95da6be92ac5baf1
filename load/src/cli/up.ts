/** grantline up: a testbed that stays. grantline down: the end of it, and of what a killed one left. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from 'commander';
import { printable } from '@grantline/base';
import { callBytes, HttpError } from '../base/http.js';
import { configure } from '../control/client.js';
import { setFaults, webDoors } from '../control/load-api.js';
import { parseEdge, unheard, parseListen } from '../base/option-values.js';
import { usable } from '../testbed/discover.js';
import { bringDown } from '../testbed/cleanup.js';
import { testbedDir } from '../testbed/paths.js';
import { NO_PIN_OPTION, parsePlacement, place, placedLine, PLACEMENT_OPTION } from '../testbed/placement.js';
import { Supervisor } from '../testbed/supervisor.js';
import { UserError } from '../base/errors.js';
import { openPage, tokenOf, withPage } from '../bed/page.js';
import {
  DIR_OPTION,
  NO_PAGE_OPTION,
  PAGE_NAME_OPTION,
  PAGE_OPTION,
  checkRate,
  parseConfig,
  parseFaultsOption,
  parseGuests,
  parseNested,
  parsePage,
} from './options.js';
import { chooseTarget } from './remote.js';
import { session } from '../control/session.js';
import { rootLines } from '../bed/with-bed.js';
import { checkTaps, farTapEnv, guestTapEnv, parseTaps, tapLines } from '../testbed/taps.js';

const EVERY_MS = 2000;

/** A service's own words why it is not ready; null: it is, or says nothing. */
async function reasonOf({ name, http }: { name: string; http: string }): Promise<string | null> {
  try {
    await callBytes(name, http, '/health/ready', { timeoutMs: EVERY_MS });
    return null;
  } catch (error) {
    if (!(error instanceof HttpError) || error.status !== 503) return null;
    const [, reason = null] = /"status":"not ready: ((?:[^"\\]|\\.)*)"/.exec(error.message) ?? [];
    return reason;
  }
}

/** Tells when a service that has worked is of no use any more, and why: its TAP device was removed. Asks until the signal.
 *  @param say takes a line when a service's reason is a new one, and when it has none any more */
export async function watchReadiness(
  services: readonly { name: string; http: string }[],
  say: (line: string) => void,
  signal: AbortSignal,
  everyMs = EVERY_MS,
): Promise<void> {
  const said = new Map<string, string>();
  while (!signal.aborted) {
    for (const service of services) {
      const reason = await reasonOf(service);
      if (signal.aborted) return;
      const before = said.get(service.name) ?? null;
      if (reason === before) continue;
      if (reason === null) said.delete(service.name);
      else said.set(service.name, reason);
      say(`${service.name} ${reason === null ? 'is ready again' : `is not ready: ${printable(reason, 200)}`}`);
    }
    await sleep(everyMs, undefined, { signal, ref: false }).catch(() => {});
  }
}

interface UpArguments {
  guests: string;
  listen?: string;
  page?: string | false;
  pageName?: string;
  pin: boolean;
  placement?: string;
  tap?: string;
  guestTap?: string[];
  tapOffload: boolean;
  config?: string;
  rate?: string;
  nested?: string;
  dir?: string;
  compose?: true;
  faults?: string;
  edge?: string;
}

/** What is not said to containers in this way, and how it is. */
const NOT_IN_CONTAINERS = [
  ['rate', 'PUT it to /api/rate of the hypervisor'],
  ['nested', 'PUT it to /api/nested of the hypervisor'],
  ['config', 'the cycle in the containers takes one after another'],
  ['edge', 'change GRANTLINE_EDGE and the ports in docker-compose.yml'],
] as const;

export function addUp(command: Command): void {
  command
    .option('--guests <n>', '1 to 32', '1')
    .option('--listen <host:port>', 'where the hypervisor answers (default: GRANTLINE_HTTP, or 127.0.0.1:7600)')
    .option(
      '--edge <host:port>',
      'where guest 1 is reached by TCP, guest n at port + n - 1 (default: GRANTLINE_EDGE, or free ports of 127.0.0.1)',
    )
    .option(...PAGE_OPTION)
    .option(...PAGE_NAME_OPTION)
    .option(...NO_PAGE_OPTION)
    .option('--config <name>', 'configuration that the vifs begin with (default: baseline)')
    .option(
      '--tap <name[,netns]>',
      'a TAP device at the far end of the cable: the kernel behind it talks to the guests',
    )
    .option(
      '--guest-tap <[guestN=]name[,netns]>',
      'a TAP device in a guest, whose stack is then the kernel behind it; can be given again for the next guest',
      (value: string, before: string[] | undefined) => [...(before ?? []), value],
    )
    .option('--no-tap-offload', 'TAP devices without vnet header, checksum and segmentation offload')
    .option('--rate <rate>', 'limit what each guest may send: 100Mb/s, 1GB/s@20ms, ... (not in direct and native)')
    .option(
      '--nested <guests>',
      "guests that other machines stand behind (macvlan, a bridge, containers), as guest1,guest2 or all: their vifs take any address that is nobody else's",
    )
    .option(...PLACEMENT_OPTION)
    .option(...NO_PIN_OPTION)
    .option(
      '--faults <list>',
      'on the cable: loss=0.01,reorder=0.01,duplicate=,corrupt=,delay=,delay-us=,direction=,seed=',
    )
    .option(...DIR_OPTION)
    .option('--compose', 'in containers (docker-compose.yml), with Prometheus and Grafana; returns once all answer')
    .action(async (args: UpArguments) => {
      const guests = parseGuests(args.guests);
      const config = parseConfig(args.config ?? 'baseline');
      const taps = parseTaps(args, guests);
      const faults = parseFaultsOption(args.faults);
      const asked = parsePlacement(args);
      if (args.rate !== undefined) checkRate(args.rate);
      const nested = args.nested === undefined ? [] : parseNested(args.nested, guests);
      if (args.compose) {
        if (taps.far !== null || taps.guests.size > 0)
          throw new UserError(
            '--tap and --guest-tap are not for containers',
            'use the profile tap of docker-compose.yml: docs/tap.md',
          );
        chooseTarget(args);
        for (const [option, todo] of NOT_IN_CONTAINERS)
          if (args[option] !== undefined) throw new UserError(`--${option} is not for --compose`, todo);
        if (faults !== null)
          throw new UserError('--faults and --compose do not go together', 'PUT /faults of the nic sets them');
        return (await import('../compose/deployment.js')).upCompose(guests);
      }
      const listen = parseListen(args.listen ?? (process.env['GRANTLINE_HTTP'] || '127.0.0.1:7600'));
      const edge = parseEdge(args.edge);
      const pageAt = parsePage(args.page, args.pageName);
      const dir = testbedDir(args.dir);
      const running = usable(dir);
      if (running)
        throw new UserError(
          `a testbed is running in ${dir} (process ${running.file.pid})`,
          'use it, or stop it with: npx grantline down',
        );
      await checkTaps(taps);
      for (const line of unheard()) process.stderr.write(`grantline: ${line}\n`);
      const page = await openPage(pageAt, 'up', dir);
      const placed = await place(asked, guests);
      const supervisor = new Supervisor({
        ...{ dir, guests, use: 'up', listen, edge, placement: placed.placement },
        taps: { nic: farTapEnv(taps), guest: (domid) => guestTapEnv(taps, domid), guests: [...taps.guests.keys()] },
        ...(page === null ? {} : { page: page.url }),
        onGuestEnd: (what) => process.stderr.write(`grantline: ${what}\nThe testbed goes on without it.\n`),
      });
      await session(withPage(supervisor, page), supervisor.failure, async (signal) => {
        const client = await supervisor.start();
        if (args.rate !== undefined) await client.putRate(args.rate);
        await client.putNested(nested);
        if (page) {
          page.attach({ client, token: tokenOf(dir), keeper: supervisor });
          process.stdout.write(`live page  ${page.url}\n`);
        }
        for (const line of [placedLine(placed), ...rootLines(dir)]) process.stdout.write(`${line}\n`);
        // While vifs connect anew frames are lost: nobody is told to begin before they have.
        if (config.name !== 'baseline') await configure(client, config);
        const services = await client.services();
        const nic = services.find((s) => s.kind === 'nic');
        if (faults !== null && nic) await setFaults(nic, faults);
        const width = Math.max(...services.map((s) => s.name.length));
        for (const s of services) process.stdout.write(`${s.name.padEnd(width)}  ${s.http}/documentation\n`);
        const { domains } = await client.testbed();
        const ips = new Map(domains.flatMap((d) => (d.kind === 'guest' && d.ip ? [[d.domid, d.ip] as const] : [])));
        for (const line of tapLines(taps, ips)) process.stdout.write(`${line}\n`);
        if (taps.guests.size > 0 && config.factors.path === 'native')
          process.stdout.write('In native guests have no network: the kernels in them reach nobody.\n');
        for (const door of nic ? await webDoors(nic) : [])
          process.stdout.write(
            door.url === null
              ? `guest${door.domid} cannot be reached by TCP: what it was to listen on is in use (--edge)\n`
              : `${door.url}/ -> guest${door.domid}\n`,
          );
        process.stdout.write(
          `Running in ${dir}; logs in ${supervisor.logDir}. Stop with Ctrl-C or: npx grantline down\n`,
        );
        // Nobody else can take a kernel's device away; what services say of themselves otherwise is in their pages.
        const behind = services.filter(({ name }) =>
          name === 'nic' ? taps.far !== null : taps.guests.has(Number(/^guest(\d+)$/.exec(name)?.[1])),
        );
        void watchReadiness(behind, (line) => process.stderr.write(`grantline: ${line}\n`), signal);
        await new Promise<never>(() => {});
      });
    });
}

export function addDown(command: Command): void {
  command
    .option('--compose', 'the one in containers: with its networks and volumes')
    .option(...DIR_OPTION)
    .action(async (args: { dir?: string; compose?: true }) => {
      if (args.compose) {
        chooseTarget(args);
        return (await import('../compose/deployment.js')).downCompose();
      }
      const dir = testbedDir(args.dir);
      const said = await bringDown(dir);
      process.stdout.write(said.length === 0 ? `Nothing to stop or remove in ${dir}.\n` : `${said.join('\n')}\n`);
    });
}
