/** grantline capture vif1.0: frames of a vif, at one hop or at all, into a pcapng file. */
import type { Command } from 'commander';
import { DIR_OPTION } from './options.js';
import { DEFAULT_RING_BYTES, MAX_RING_BYTES, MAX_SNAPLEN, MIN_RING_BYTES, HOPS, type Hop } from '@grantline/observe';
import { CaptureRun, type Ended, type HopTotals } from '../capture/capture-run.js';
import { openOut, type CaptureOut } from '../capture/out-file.js';
import { planCapture } from '../capture/capture-source.js';
import { targetOf } from '../base/user-file.js';
import { RunError, UserError } from '../base/errors.js';
import { integerIn, parseSeconds } from '../base/option-values.js';
import { clientOf, HYPERVISOR_OPTION, TOKEN_OPTION, type RemoteArguments } from './remote.js';
import { watchParent } from '../control/session.js';

interface CaptureArguments extends RemoteArguments {
  hop?: string;
  out?: string;
  seconds?: string;
  frames?: string;
  snaplen: string;
  buffer: string;
  dir?: string;
}

const MAX_FRAMES = 1e9;

export function addCapture(command: Command): void {
  command
    .requiredOption('--out <file>', 'the pcapng file; - is the standard output')
    .option('--hop <hop>', `${HOPS.join(', ')} (default: all that the configuration has)`)
    .option('--seconds <s>', 'end after so long')
    .option('--frames <n>', 'end after so many frames')
    .option('--snaplen <bytes>', 'keep so many bytes of each frame', String(MAX_SNAPLEN))
    .option('--buffer <bytes>', 'ring in the service; what finds it full is counted', String(DEFAULT_RING_BYTES))
    .option(...HYPERVISOR_OPTION)
    .option(...TOKEN_OPTION)
    .option(...DIR_OPTION)
    .action(capture);
}

async function capture(vif: string, args: CaptureArguments): Promise<void> {
  const hop = args.hop === undefined ? null : parseHop(args.hop);
  const seconds = args.seconds === undefined ? null : parseSeconds(args.seconds);
  const settings = {
    frames: args.frames === undefined ? Infinity : integerIn(args.frames, 'the number of frames', 1, MAX_FRAMES),
    snaplen: integerIn(args.snaplen, 'snaplen', 1, MAX_SNAPLEN),
    ringBytes: integerIn(args.buffer, 'the buffer', MIN_RING_BYTES, MAX_RING_BYTES),
  };
  const client = await clientOf(args);
  const plans = await planCapture(client, vif, hop);
  const out = args.out!;
  const signals = new Signals();
  const file = await opened(out, signals);
  if (file === null) return;
  // Whatever is written to the standard output is the capture.
  const into = targetOf(out, '--out');
  const toStdout = into.kind === 'descriptor' && into.fd === 1;
  const say = (line: string): unknown => (toStdout ? process.stderr : process.stdout).write(`${line}\n`);
  const unread = file.gone.then((error) => {
    if (error !== null) throw error;
    return null;
  });
  unread.catch(() => {});
  let totals: HopTotals[];
  let how: Ended | null;
  try {
    const run = await CaptureRun.open(plans, settings, file);
    say(`Capturing ${vif} at ${plans.map((p) => p.hop).join(', ')} into ${args.out}; Ctrl-C ends it`);
    how = await Promise.race([run.ended, signals.first, after(seconds), unread]);
    if (how?.why === 'failed') throw how.error;
    totals = await run.stop();
  } finally {
    await closed(file, signals);
    signals.end();
  }
  for (const line of captureLines(totals, file.bytes)) say(line);
  if (how?.why === 'lost')
    throw new RunError(`the capture ended early, ${how.what}; ${args.out} holds what came before and can be read`);
}

/** @returns null when a signal came before anybody read it */
async function opened(out: string, signals: Signals): Promise<CaptureOut | null> {
  const abort = new AbortController();
  void signals.first.then(() => abort.abort());
  try {
    return await openOut(out, () => process.stderr.write(`waiting for a reader of ${out}\n`), abort.signal);
  } catch (error) {
    signals.end();
    if (!abort.signal.aborted) throw error;
    return null;
  }
}

/** A reader that takes nothing is not waited for longer than a moment once it is to end. */
const READER_LIMIT_MS = 1000;

async function closed(file: CaptureOut, signals: Signals): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = signals.first.then(
    () =>
      new Promise<'late'>((done) => {
        timer = setTimeout(() => done('late'), READER_LIMIT_MS);
      }),
  );
  const how = await Promise.race([file.close(), late]);
  clearTimeout(timer);
  if (how !== 'late') return;
  process.stderr.write('what its reader has not taken is lost\n');
  file.drop();
}

/** What stands on the screen at the end. */
export function captureLines(totals: readonly HopTotals[], bytes: number): string[] {
  return [
    ...totals.map(
      (t) =>
        `  ${t.hop} (${t.service}): ${t.frames} frames` +
        (t.overflow === 0
          ? ''
          : `, ${t.overflow} more found the ring full; a larger --buffer or a smaller --snaplen helps`),
    ),
    `${totals.reduce((sum, t) => sum + t.frames, 0)} frames, ${bytes} bytes written`,
  ];
}

function parseHop(text: string): Hop {
  const hop = HOPS.find((h) => h === text);
  if (hop === undefined) throw new UserError(`unknown hop "${text}"`, `give ${HOPS.join(', ')}, or none for all`);
  return hop;
}

function after(seconds: number | null): Promise<null> {
  return new Promise((done) => {
    if (seconds !== null) setTimeout(() => done(null), seconds * 1000).unref();
  });
}

/** A signal ends the capture, properly: that is how it is meant to be ended. A second one ends the command. */
class Signals {
  readonly first: Promise<null>;
  private readonly parent: NodeJS.Timeout | undefined;
  private readonly heard: () => void;
  private count = 0;

  constructor() {
    let tell: (nothing: null) => void = () => {};
    this.first = new Promise((done) => (tell = done));
    this.heard = () => {
      if (++this.count > 1) process.exit(130);
      tell(null);
    };
    for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, this.heard);
    this.parent = watchParent(() => this.heard());
  }

  end(): void {
    clearInterval(this.parent);
    for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.off(name, this.heard);
  }
}
