// node tools/run.mjs PROGRAM [ARGUMENTS]: sets up what a fresh clone lacks, then runs the program as tsc names it. One that is part of the
// started form needs no more than a start does. Without a program: the set-up for work on it, which checks all types.
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { root, setup } from './setup.mjs';
import { isStarted } from './started-form.mjs';

const [, , program] = process.argv;
const form = await setup({ develop: program === undefined || !isStarted(program) });
if (program !== undefined) {
  // In this process, so that signals reach the program directly. It sees its own name and arguments.
  process.argv.splice(1, 1);
  await import(pathToFileURL(join(isStarted(program) ? form : root, program)).href);
}
