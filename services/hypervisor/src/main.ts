/** The hypervisor: domains and their memory, grants, event channels, xenstore, the DMA table, the operator's API. */
import './small-heap.js';
import { randomBytes } from 'node:crypto';
import { readEnv, Lifeline, createLog, runMain } from '@grantline/service';
import { pinToCore } from '@grantline/machine';
import { Hypervisor } from './control/hypervisor.js';

/** Longer than domains get to say goodbye, and within the three seconds in which all must have ended. */
const STOP_LIMIT_MS = 2800;

void runMain('hypervisor', async () => {
  const env = readEnv('hypervisor');
  const log = createLog(env);
  const lifeline = new Lifeline({ log, stdin: env.lifeline, limitMs: STOP_LIMIT_MS });
  if (env.core !== null && !pinToCore(env.core)) log.warn({ core: env.core }, 'could not pin to the core');
  const { hypervisor } = await Hypervisor.start({
    dir: env.dir,
    token: env.token ?? randomBytes(24).toString('hex'),
    listen: env.http,
    httpNames: env.httpNames,
    roles: env.roles,
    reclaim: env.reclaim,
    log,
    onShutdown: () => void lifeline.stop('asked to by the operator'),
  });
  // Whatever ends this process by itself: shared memory must not stay taken.
  process.once('exit', () => hypervisor.files.removeAll());
  lifeline.onStop(() => hypervisor.stop());
});
