/** The grantline command: parses the line, runs a subcommand, turns errors into one line and an exit code. */
import { Command, CommanderError } from 'commander';
import { addCapture } from './capture.js';
import { addCompare } from './compare.js';
import { addCycle } from './cycle.js';
import { addDoctor } from './doctor.js';
import { addDump } from './dump.js';
import { exitCodeOf, Interrupted, RunError, UserError } from './errors.js';
import { flushed } from './flush.js';
import { addHttp } from './http.js';
import { addMeasure } from './measure.js';
import { HttpError } from '../runner/http.js';
import { addReplay } from './replay.js';
import { addReport } from './report.js';
import { addDown, addUp } from './up.js';

function programOf(): Command {
  const program = new Command('grantline')
    .description("Xen's driver-domain network I/O as separate services over real shared memory, measured")
    .exitOverride()
    .configureOutput({ writeErr: () => {} })
    .showSuggestionAfterError(false)
    .allowExcessArguments(false);
  addCompare(program);
  addHttp(program);
  addReplay(program);
  addReport(program);
  addCycle(program);
  addMeasure(program);
  addUp(program);
  addDown(program);
  addDump(program);
  addCapture(program);
  addDoctor(program);
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
export async function main(argv: readonly string[]): Promise<number> {
  const program = programOf();
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

function say(error: unknown): void {
  if (error instanceof Interrupted) process.stderr.write('grantline: interrupted; everything is stopped\n');
  else if (error instanceof UserError) process.stderr.write(`grantline: ${error.message.replaceAll('\n', ' ')}\n`);
  else if (error instanceof RunError || error instanceof HttpError)
    process.stderr.write(`grantline: ${error.message}\n`);
  else process.stderr.write(`grantline: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
}

// exit(), not exitCode: a forgotten keep-alive socket must not hold the command.
const exitCode = await main(process.argv.slice(2));
await flushed();
process.exit(exitCode);
