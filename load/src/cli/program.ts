/** What the grantline command does with its line: finds the subcommand, runs it, turns errors into one line and an exit code. */
import { Command, CommanderError } from 'commander';
import { UsageError, printable, printableLines } from '@grantline/base';
import { exitCodeOf, Interrupted, RunError, UserError } from '../base/errors.js';
import { HttpError } from '../base/http.js';

/** Adds a command to the program. */
type Add = (program: Command) => void;

/** In the order of the help. Each brings much with it: only the one that is asked for is loaded. */
const COMMANDS: ReadonlyMap<string, () => Promise<Add>> = new Map([
  ['compare', async () => (await import('./compare.js')).addCompare],
  ['http', async () => (await import('./http.js')).addHttp],
  ['replay', async () => (await import('./replay.js')).addReplay],
  ['report', async () => (await import('./report.js')).addReport],
  ['cycle', async () => (await import('./cycle.js')).addCycle],
  ['measure', async () => (await import('./measure.js')).addMeasure],
  ['up', async () => (await import('./up.js')).addUp],
  ['down', async () => (await import('./up.js')).addDown],
  ['dump', async () => (await import('./dump.js')).addDump],
  ['capture', async () => (await import('./capture.js')).addCapture],
  ['doctor', async () => (await import('./doctor.js')).addDoctor],
]);

async function programOf(name: string | undefined): Promise<Command> {
  const program = new Command('grantline')
    .description("Xen's driver-domain network I/O as separate services over real shared memory, measured")
    .exitOverride()
    .configureOutput({ writeErr: () => {} })
    .showSuggestionAfterError(false)
    .allowExcessArguments(false);
  const one = COMMANDS.get(name ?? '');
  for (const load of one === undefined ? COMMANDS.values() : [one]) (await load())(program);
  // Settings are not handed down to commands that are made by .command(): each gets its own.
  for (const command of program.commands) {
    command
      .exitOverride()
      .configureOutput({ writeErr: () => {} })
      .allowExcessArguments(false)
      .showSuggestionAfterError(false);
  }
  return program;
}

/** @returns the exit code */
export async function run(argv: readonly string[]): Promise<number> {
  const program = await programOf(argv[0]);
  try {
    if (argv.length === 0)
      throw new UserError('no command is given', `known are ${[...COMMANDS.keys()].join(', ')}; see grantline --help`);
    await program.parseAsync(argv, { from: 'user' });
    return typeof process.exitCode === 'number' ? process.exitCode : 0;
  } catch (error) {
    if (error instanceof CommanderError) {
      if (error.exitCode === 0) return 0;
      const command = program.commands.find((c) => c.name() === argv[0]);
      const what = error.message.replace(/^error: /, '').replaceAll('\n', ' ');
      say(new UserError(what, command ? `see grantline ${command.name()} --help` : 'see grantline --help'));
      return 2;
    }
    say(error);
    return exitCodeOf(error);
  }
}

/** Characters of a message, which may have been written by a guest. */
const SAID_MAX = 20_000;

function say(error: unknown): void {
  if (error instanceof Interrupted) process.stderr.write('grantline: interrupted; everything is stopped\n');
  else if (error instanceof UserError || error instanceof UsageError)
    process.stderr.write(`grantline: ${printable(error.message, SAID_MAX)}\n`);
  else if (error instanceof RunError || error instanceof HttpError)
    process.stderr.write(`grantline: ${printableLines(error.message, SAID_MAX)}\n`);
  else {
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    process.stderr.write(`grantline: ${printableLines(text, SAID_MAX)}\n`);
  }
}

/** What nobody reads any more is not written, and that is no fault. */
const READER_GONE = ['EPIPE', 'ECONNRESET'];

/** Watches both streams for as long as the process lives.
 *  @returns tells the code of the error that kept something from the standard output, or null */
export function watchOutput(): () => string | null {
  let lost: string | null = null;
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (!READER_GONE.includes(error.code ?? '')) lost ??= error.code ?? error.message;
  });
  // There is no place left to tell of this one.
  process.stderr.on('error', () => {});
  return () => lost;
}

/** What was written goes out before the process ends: exit() drops what the reader of a pipe has not taken yet, which is
 *  all beyond its 64 KiB when the reader is slow, and a record of a run is twice as long.
 *  @returns when stdout and stderr have nothing left to write, or nobody reads them any more */
export async function flushed(
  streams: readonly NodeJS.WriteStream[] = [process.stdout, process.stderr],
): Promise<void> {
  const waiting = streams.filter((s) => s.writableLength > 0 && !s.destroyed);
  await Promise.all(waiting.map((s) => new Promise<void>((done) => void s.write('', () => done()))));
  // The error of a write that was over at once is told in the next turn.
  await new Promise((done) => setImmediate(done));
}
