/** A testbed for one command: the running one where there is one, else its own for as long as the command runs. */
import { counted } from '../base/format.js';
import type { Progress } from '../base/progress.js';
import { runningGuests, type BedSession, Client } from '../control/client.js';
import { openBed, type Bed } from '../runner/bed.js';
import { observers } from '../runner/observer.js';
import { remotePage } from '../live/board.js';
import { parseEdge, unheard } from '../base/option-values.js';
import { usable } from '../testbed/discover.js';
import { testbedDir } from '../testbed/paths.js';
import { place, placedLine, probeCores, type Placed, type PlacementChoice } from '../testbed/placement.js';
import { takeRunLock } from '../testbed/run-lock.js';
import { closedFor, separateUsers } from '../testbed/service-env.js';
import { Supervisor } from '../testbed/supervisor.js';
import { UserError } from '../base/errors.js';
import { endHeld, session, UNWIND_MS } from '../control/session.js';
import { openPage, tokenAt, tokenOf, withPage, type PageChoice } from './page.js';

export interface BedOptions {
  dir: string | undefined;
  guests: number;
  /** Where the data threads of an own testbed run; default auto. */
  placement?: PlacementChoice;
  /** Logs of an own testbed. */
  logDir: string;
  progress: Progress;
  /** A live page: where, as `parsePage` gives it; none when not given. A running testbed's own page is told in any case. */
  page?: PageChoice | null;
}

/** Of a testbed that was started for the command: nothing has run on it yet. */
export const OWN_TESTBED = 'its own';

/** Runs `work` on a testbed and leaves things as they were found. */
export async function withBed<T>(options: BedOptions, work: (bed: Bed) => Promise<T>): Promise<T> {
  const dir = testbedDir(options.dir);
  const running = usable(dir);
  if (running) {
    const kernels = running.file.kernelGuests ?? [];
    if (kernels.length > 0)
      throw new UserError(
        `guest${kernels.join(', guest')} of the testbed in ${dir} has a kernel behind a TAP device and takes part in no run`,
        'stop it with npx grantline down, or choose another directory with --dir',
      );
    const client = Client.open(running.file.hypervisor, running.file.token);
    const available = runningGuests(await client.testbed()).length;
    if (available < options.guests) {
      throw new UserError(
        `the running testbed in ${dir} has ${counted(available, 'guest')}, ${options.guests} are asked for`,
        `take --guests ${available} or fewer, or start it again with: npx grantline up --guests ${options.guests}`,
      );
    }
    const { page: address, token } = running.file;
    // Its own page is enough, unless another was asked for by address.
    const page = await openPage(options.page?.at ? options.page : null, 'compare', dir);
    const release = takeRunLock(dir);
    options.progress.line(`Using the testbed that runs in ${dir}.`);
    if (address !== undefined || page) options.progress.line(`Live page: ${page?.url ?? address}`);
    let held: BedSession | null = null;
    const stop = async (interrupted = false): Promise<void> => {
      await endHeld(held, interrupted);
      release();
    };
    return session(withPage({ stop, killNow: release, unwindMs: UNWIND_MS }, page), null, async (signal) => {
      page?.attach({ client, token: tokenAt(token), keeper: null });
      const pages = [
        ...(address === undefined ? [] : [remotePage(address, tokenAt(token))]),
        ...(page ? [page.observer] : []),
      ];
      held = await client.hold();
      const bed = await openBed(client, options.guests, observers(...pages), signal);
      const placed: Placed = {
        ...{ asked: null, placement: running.file.placement ?? null },
        handover: await probeCores(),
      };
      options.progress.line(placedLine(placed));
      return work({ ...bed, placed, testbed: await runningText(client) });
    });
  }
  const { guests, logDir } = options;
  const page = await openPage(options.page ?? null, 'compare', dir);
  const placed = await place(options.placement ?? 'auto', guests);
  const supervisor = new Supervisor({
    ...{ dir, guests, use: 'own', logDir, edge: parseEdge(undefined) },
    placement: placed.placement,
  });
  return session(withPage(supervisor, page), supervisor.failure, async () => {
    const start = performance.now();
    options.progress.live('starting hypervisor, driver domain, NIC and guests');
    const client = await supervisor.start();
    page?.attach({ client, token: tokenOf(dir), keeper: null });
    if (page) options.progress.line(`Live page: ${page.url}`);
    const bed = await openBed(client, options.guests, observers(...(page ? [page.observer] : [])));
    options.progress.line(
      `Testbed ready in ${((performance.now() - start) / 1000).toFixed(1)} s: hypervisor, driver domain, NIC, ${counted(options.guests, 'guest')}.`,
    );
    for (const line of [placedLine(placed), ...rootLines(dir), ...unheard()]) options.progress.line(line);
    return work({ ...bed, placed, testbed: OWN_TESTBED });
  });
}

/** What root is to know about its domains' users. */
export function rootLines(dir: string): string[] {
  if (process.getuid?.() !== 0 || separateUsers(dir)) return [];
  return [`All domains run as root: other users may not read ${closedFor(dir)} (grantline doctor).`];
}

/** A testbed that was there before, with what limits it: results are not to be taken for those of an own one. */
export async function runningText(client: Client): Promise<string> {
  const { rates } = await client.rates();
  const limits = rates.flatMap(({ vif, rate }) =>
    rate === null ? [] : [`${vif} sends ${rate} (bytes, microseconds)`],
  );
  return ['one that ran before', ...limits].join(', ').slice(0, 500);
}
