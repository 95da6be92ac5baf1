/** A nic that stops in the middle of a burst, and never goes on. It goes by the environment of a nic. Not a test itself. */
import { writeSync } from 'node:fs';
import { HypervisorClient, readEnv, createLog } from '@grantline/service';
import { standBehind } from '@grantline/machine';

const env = readEnv('nic');
const client = await HypervisorClient.connect(env, createLog(env));
standBehind(await client.descriptor('fence'));
writeSync(await client.descriptor('dma-burst'), new Uint8Array([1]), 0, 1, 0);
process.stdout.write('stopping\n');
process.kill(process.pid, 'SIGSTOP');
