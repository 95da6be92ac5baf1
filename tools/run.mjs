// node tools/run.mjs PROGRAM [ARGUMENTS]: installs and builds what a fresh clone lacks, then runs the program.
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { root, setup } from './setup.mjs';

setup();
// In this process, so that signals reach the program directly. It sees its own name and arguments.
process.argv.splice(1, 1);
await import(pathToFileURL(join(root, process.argv[1])).href);
