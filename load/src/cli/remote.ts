/** A testbed given by its hypervisor's address instead of by a directory: in containers, or on another machine. The
 *  services' own addresses must be reachable from here, too. */
import { counted } from '../base/format.js';
import { setTimeout as sleep } from 'node:timers/promises';
import { runningGuests, type BedSession, Client } from '../control/client.js';
import { HttpError } from '../base/http.js';
import { observers } from '../runner/observer.js';
import { required } from '../testbed/discover.js';
import { testbedDir } from '../testbed/paths.js';
import type { Shown } from '../prometheus/server.js';
import { openBed, type Bed } from '../runner/bed.js';
import { UserError } from '../base/errors.js';
import type { BedOptions } from '../bed/with-bed.js';
import { readUpTo } from '../base/user-file.js';
import { endHeld, session, UNWIND_MS } from '../control/session.js';

export interface Remote {
  /** http://host:port of the hypervisor. */
  url: string;
  /** Gives the operator's token: read anew each time, as a hypervisor that starts again makes a new one. */
  token: () => string;
}

export interface RemoteArguments {
  hypervisor?: string;
  tokenFile?: string;
}

/** For commander's option(). */
export const HYPERVISOR_OPTION = [
  '--hypervisor <url>',
  'a testbed by address: http://host:port (default: GRANTLINE_HYPERVISOR_URL)',
] as const;
export const TOKEN_OPTION = [
  '--token-file <file>',
  "file with its operator's token (default: GRANTLINE_TOKEN_FILE; GRANTLINE_TOKEN is the token itself)",
] as const;

/** @returns null when no address is given: the testbed is then found by its directory. @throws UserError */
export function parseRemote(args: RemoteArguments, env: NodeJS.ProcessEnv = process.env): Remote | null {
  const text = args.hypervisor ?? env['GRANTLINE_HYPERVISOR_URL'];
  if (text === undefined || text === '') {
    if (args.tokenFile === undefined) return null;
    throw new UserError('--token-file is given without --hypervisor', 'give both');
  }
  const url = /^https?:\/\/[^\s/?#@]+\/?$/.test(text) && URL.canParse(text) ? new URL(text).origin : null;
  if (url === null)
    throw new UserError(`"${text}" is not the address of a hypervisor`, 'write for example http://127.0.0.1:7600');
  const file = args.tokenFile ?? (env['GRANTLINE_TOKEN'] ? undefined : env['GRANTLINE_TOKEN_FILE']);
  const token = env['GRANTLINE_TOKEN'];
  if (file === undefined && !token)
    throw new UserError(
      `there is no operator's token for ${url}`,
      'give --token-file, or set GRANTLINE_TOKEN or GRANTLINE_TOKEN_FILE',
    );
  return { url, token: () => (file === undefined ? (token ?? '') : readToken(file)) };
}

/** Which testbed is meant: the one in containers, one by address, or null: one by its directory. @throws UserError when
 *  the options contradict each other */
export function chooseTarget(
  args: RemoteArguments & {
    compose?: true;
    dir?: string;
    pin?: boolean;
    placement?: string;
    page?: string | false;
    listen?: string;
  },
): Remote | 'compose' | null {
  if (args.compose) {
    const other = refusedWithCompose({ ...args, page: args.page === false ? undefined : args.page });
    if (other !== null) throw new UserError(`${other} does not go with --compose`, 'leave one of them out');
    return 'compose';
  }
  if (args.dir === undefined) return parseRemote(args);
  if (args.hypervisor !== undefined)
    throw new UserError('--hypervisor and --dir both name a testbed', 'leave one of them out');
  return null;
}

/** @returns an option that was given although the containers decide on it, or null */
export function refusedWithCompose(args: {
  dir?: string | undefined;
  hypervisor?: string | undefined;
  listen?: string | undefined;
  page?: string | false | undefined;
  pin?: boolean | undefined;
  placement?: string | undefined;
}): string | null {
  if (args.dir !== undefined) return '--dir';
  if (args.hypervisor !== undefined) return '--hypervisor';
  if (args.listen !== undefined) return '--listen';
  if (typeof args.page === 'string') return '--page';
  if (args.placement !== undefined) return '--placement';
  return args.pin === false ? '--no-pin' : null;
}

export const remoteClient = (remote: Remote): Client => new Client(remote.url, remote.token());

/** A client of a testbed that answers. @throws UserError when none does */
async function reached(remote: Remote): Promise<Client> {
  const client = remoteClient(remote);
  try {
    await client.testbed();
  } catch (error) {
    if (!(error instanceof HttpError)) throw error;
    throw new UserError(
      error.status === 0
        ? `no hypervisor answers at ${remote.url}`
        : `what answers at ${remote.url} is no hypervisor (${error.status})`,
      'is the testbed up, and the address right?',
    );
  }
  return client;
}

/** A client of the testbed that is meant, which must be running. @throws UserError when none does */
export async function clientOf(args: RemoteArguments & { dir?: string }): Promise<Client> {
  const target = chooseTarget(args);
  if (target !== null && target !== 'compose') return reached(target);
  const { file } = required(testbedDir(args.dir));
  return Client.open(file.hypervisor, file.token);
}

/** A token has 43 characters. */
const TOKEN_BYTES_MAX = 4096;

export function readToken(file: string): string {
  let bytes: Buffer | null;
  try {
    bytes = readUpTo(file, TOKEN_BYTES_MAX);
  } catch (error) {
    throw new UserError(
      `cannot read the token in ${file} (${(error as NodeJS.ErrnoException).code})`,
      'is the testbed up, and may this user read it?',
    );
  }
  if (bytes === null) throw new UserError(`${file} is too long for a token`, 'give the file that the testbed wrote');
  return bytes.toString('utf8').trim();
}

/** Shows the experiment to Prometheus where GRANTLINE_METRICS says that this process does: a testbed by address has no page to tell.
 *  @returns null when it does not. @throws UserError */
export async function shownHere(env: NodeJS.ProcessEnv = process.env): Promise<Shown | null> {
  // Most commands need none of this.
  return env['GRANTLINE_METRICS'] ? (await import('../prometheus/server.js')).showExperiment(env) : null;
}

/** Runs `work` on the testbed at that address; null: on the one that runs in a directory, or one of its own. */
export async function onTestbed<T>(
  target: Remote | null,
  here: BedOptions,
  work: (bed: Bed) => Promise<T>,
): Promise<T> {
  if (target !== null) return withRemoteBed(target, here.guests, work);
  // With it comes all that starts a testbed, and commands that only look at one need none of that.
  return (await import('../bed/with-bed.js')).withBed(here, work);
}

/** Prometheus looks each second: so long it is still shown what has come last. */
const LAST_LOOK_MS = 2000;

/** Runs `work` on it, and leaves it as it was found. @throws UserError when it has too few guests, or is being measured */
export async function withRemoteBed<T>(remote: Remote, guests: number, work: (bed: Bed) => Promise<T>): Promise<T> {
  const client = await reached(remote);
  const available = runningGuests(await client.testbed()).length;
  if (available < guests)
    throw new UserError(
      `the testbed at ${remote.url} has ${counted(available, 'guest')}, ${guests} are asked for`,
      `take --guests ${Math.max(1, available)} or fewer, or give it more`,
    );
  let held: BedSession | null = null;
  let shown: Shown | null = null;
  const stop = async (interrupted = false): Promise<void> => {
    shown?.experiment.released();
    await Promise.all([endHeld(held, interrupted), shown === null || interrupted ? null : sleep(LAST_LOOK_MS)]);
    await shown?.close();
  };
  const closing = { stop, killNow: () => {}, unwindMs: UNWIND_MS };
  return session(closing, null, async (signal) => {
    held = await client.hold();
    // Not before: one that is refused has nothing to show, and whoever measures may be showing it there.
    shown = await shownHere();
    return work(await openBed(client, guests, observers(...(shown ? [shown.experiment] : [])), signal));
  });
}
