/** What the grantline command does with its line: finds the subcommand, runs it, turns errors into one line and an exit code. */
import { Command, CommanderError } from 'commander';
import { UsageError, printable, printableLines } from '@grantline/base';
import { exitCodeOf, Interrupted, RunError, UserError } from '../base/errors.js';
import { HttpError } from '../base/http.js';

/** A command as the help shows it. What it takes and does is loaded when it is asked for: each brings much with it. */
interface Entry {
  usage: string;
  does: string;
  hidden?: true;
  /** Gives its options and its action. */
  load: () => Promise<(command: Command) => void>;
}

/** In the order of the help. */
const COMMANDS: readonly Entry[] = [
  {
    usage: 'compare',
    does: 'measure configurations with generated frames and compare them',
    load: async () => (await import('./compare.js')).addCompare,
  },
  {
    usage: 'http',
    does: "load the guests' web application by autocannon, beside the same one on loopback",
    load: async () => (await import('./http.js')).addHttp,
  },
  {
    usage: 'replay <file>',
    does: 'send a capture (pcap, pcapng; - is standard input) through the path and compare what arrives, byte for byte',
    load: async () => (await import('./replay.js')).addReplay,
  },
  {
    usage: 'report <dir>',
    does: 'write report.html, report.md and plots of the comparison, http.html of the load by HTTP, in a results folder',
    load: async () => (await import('./report.js')).addReport,
  },
  {
    usage: 'cycle',
    does: 'measure one configuration after another on a running testbed, until interrupted',
    load: async () => (await import('./cycle.js')).addCycle,
  },
  {
    usage: 'measure',
    does: 'used by compare --compose',
    hidden: true,
    load: async () => (await import('./measure.js')).addMeasure,
  },
  {
    usage: 'up',
    does: 'start a testbed and keep it running until it is interrupted',
    load: async () => (await import('./up.js')).addUp,
  },
  {
    usage: 'down',
    does: 'stop a testbed and remove what a killed one left',
    load: async () => (await import('./up.js')).addDown,
  },
  {
    usage: 'dump <vif>',
    does: 'rings, grants, ports and store paths of a vif (vif1.0) of the running testbed',
    load: async () => (await import('./dump.js')).addDump,
  },
  {
    usage: 'capture <vif>',
    does: 'frames of a vif (vif1.0) of the running testbed, into a pcapng file, until Ctrl-C',
    load: async () => (await import('./capture.js')).addCapture,
  },
  {
    usage: 'doctor',
    does: 'what this machine has and lacks, and what to do about it',
    load: async () => (await import('./doctor.js')).addDoctor,
  },
];

/** @param argv the first word may be a command, or `help` with one behind it */
async function programOf([first, second]: readonly string[]): Promise<Command> {
  const program = new Command('grantline')
    .description("Xen's driver-domain network I/O as separate services over real shared memory, measured")
    .exitOverride()
    .configureOutput({ writeErr: () => {} })
    .showSuggestionAfterError(false)
    .allowExcessArguments(false);
  const asked = first === 'help' ? second : first;
  for (const { usage, does, hidden = false, load } of COMMANDS) {
    // Settings are not handed down to commands that are made by .command(): each gets its own.
    const command = program
      .command(usage, { hidden })
      .description(does)
      .exitOverride()
      .configureOutput({ writeErr: () => {} })
      .allowExcessArguments(false)
      .showSuggestionAfterError(false);
    if (command.name() === asked) (await load())(command);
  }
  return program;
}

/** @returns the exit code */
export async function run(argv: readonly string[]): Promise<number> {
  const program = await programOf(argv);
  try {
    if (argv.length === 0)
      throw new UserError(
        'no command is given',
        `known are ${program.commands.map((c) => c.name()).join(', ')}; see grantline --help`,
      );
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
