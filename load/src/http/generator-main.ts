/** The generator, a process of its own so that its CPU time is no other's: takes a plan by IPC, tells when it measures
 *  and what it found, and ends with the channel. */
import { endWithChannel } from '@grantline/base';
import { loadByAutocannon } from './autocannon-load.js';
import type { GeneratorSays, LoadPlan } from './plan.js';
import { loadByWebSocket } from './ws-load.js';

const say = (what: GeneratorSays): void => void process.send?.(what);

endWithChannel();
process.on('message', (plan: LoadPlan) => {
  const load = plan.scenario.kind === 'ws' ? loadByWebSocket : loadByAutocannon;
  load(plan, (phase) => say({ phase })).then(
    (result) => say({ result }),
    (error: unknown) => say({ failed: messageOf(error) }),
  );
});

/** fetch says only that it failed; why is its cause. */
function messageOf(error: unknown): string {
  const e = error as Error & { cause?: { message?: string } };
  return e.cause?.message ?? e.message;
}
