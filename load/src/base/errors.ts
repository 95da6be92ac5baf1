/** The two ways in which the command fails on purpose. Everything else is a bug of ours and shows its stack. */

import { UsageError } from '@grantline/base';

/** The user can mend it: bad input or a machine that lacks something. One line, exit code 2. */
export class UserError extends Error {
  override readonly name = 'UserError';
  /** What is wrong, and what to do about it. */
  readonly what: string;
  readonly remedy: string;

  constructor(what: string, remedy: string) {
    super(`${what} - ${remedy}`);
    this.what = what;
    this.remedy = remedy;
  }
}

/** The run failed: a service died, frames were lost that may not be, a count does not add up. Exit code 1. */
export class RunError extends Error {
  override readonly name = 'RunError';
}

/** A signal ended the command. Exit code 128 + signal. */
export class Interrupted extends Error {
  override readonly name = 'Interrupted';
  readonly signal: 'SIGINT' | 'SIGTERM';

  constructor(signal: 'SIGINT' | 'SIGTERM') {
    super(signal);
    this.signal = signal;
  }
}

/** @returns the exit code that this error stands for */
export function exitCodeOf(error: unknown): number {
  if (error instanceof UserError || error instanceof UsageError) return 2;
  if (error instanceof Interrupted) return error.signal === 'SIGINT' ? 130 : 143;
  return 1;
}
