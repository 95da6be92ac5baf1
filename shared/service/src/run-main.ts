/** What every main does the same way: bad input is one line and exit code 2, our own fault is a logged stack and 1. */
import { createLog, currentLog, flushLog } from './log.js';
import type { ServiceKind } from './env.js';
import { UsageError } from '@grantline/base';

/** Runs a service's main. Afterwards the process lives as long as what main started.
 *  @param kind names the service in the one line */
export async function runMain(kind: ServiceKind, main: () => Promise<void> | void): Promise<void> {
  const end = (err: unknown): void => void report(kind, err);
  process.once('uncaughtException', end);
  process.once('unhandledRejection', end);
  try {
    await main();
  } catch (err) {
    await report(kind, err);
  }
}

async function report(kind: ServiceKind, err: unknown): Promise<never> {
  if (err instanceof UsageError) {
    process.stderr.write(`grantline ${kind}: ${oneLine(err.message)}\n`);
    process.exit(2);
  }
  const log = currentLog() ?? createLog({ kind, domid: null, log: 'info' });
  log.fatal({ err }, 'the service failed');
  process.stderr.write(`grantline ${kind}: failed: ${oneLine(err instanceof Error ? err.message : String(err))}\n`);
  await flushLog();
  process.exit(1);
}

const oneLine = (text: string): string => text.replace(/\s*\n\s*/g, '; ');
