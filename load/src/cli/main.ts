/** The grantline command as a process. */
import { unwritten } from '../base/user-file.js';
import { flushed, watchOutput, run } from './program.js';

const lost = watchOutput();
// exit(), not exitCode: a forgotten keep-alive socket must not hold the command.
const exitCode = await run(process.argv.slice(2));
await flushed();
const code = lost();
if (code !== null) process.stderr.write(`grantline: ${unwritten('-', code)}\n`);
process.exit(code === null ? exitCode : 2);
