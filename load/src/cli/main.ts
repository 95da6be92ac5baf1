/** The grantline command as a process. */
import { flushed } from './flush.js';
import { run } from './program.js';

// What nobody reads any more is not written; anything else that is wrong with a stream is thrown.
for (const stream of [process.stdout, process.stderr])
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE' && error.code !== 'ECONNRESET') throw error;
  });
// exit(), not exitCode: a forgotten keep-alive socket must not hold the command.
const exitCode = await run(process.argv.slice(2));
await flushed();
process.exit(exitCode);
