/** What receives the load: a stack, and behind it one of the applications that a run can want. In each guest, and for
 *  `native` in the driver domain. */
import type { Run } from '@grantline/base';
import { type CounterFile, LATENCY } from '@grantline/machine';
import { APP_COUNTERS, RESPONDER_COUNTERS, STACK_COUNTERS } from '@grantline/observe';
import { PROTO_TCP, PROTO_UDP, GENERATOR_PORT, RESPOND_PORT } from '@grantline/frames';
import { CopyApp } from './frame-app.js';
import { RecordApp, type RecordMemory } from './record-app.js';
import { RESPOND_SOCKET, RespondApp } from './respond-app.js';
import { RxStack, type RxStackOptions } from './rx-stack.js';
import { VerifyApp } from './verify-app.js';

/** One for each mode of a run. */
export interface Apps {
  verify: VerifyApp;
  record: RecordApp;
  off: CopyApp;
  respond: RespondApp;
}

/** Made once, for the life of the service. @param vif label of its counters */
export function makeReceiver(
  space: RecordMemory,
  counters: CounterFile,
  vif: string,
  addresses: Pick<RxStackOptions, 'macs' | 'ips' | 'promiscuous'>,
): { stack: RxStack; apps: Apps } {
  const labels = { vif };
  const app = counters.block(APP_COUNTERS, labels);
  const verify = new VerifyApp(space, app, counters.block(LATENCY, labels));
  const responder = counters.block(RESPONDER_COUNTERS, labels);
  const apps = {
    verify,
    respond: new RespondApp({ space, beside: verify, counters: responder }),
    record: new RecordApp(space, app),
    off: new CopyApp(space, app),
  };
  const stack = new RxStack({
    ...addresses,
    mem: space.mem,
    counters: counters.block(STACK_COUNTERS, labels),
    lro: false,
    app: apps.off,
  });
  stack.listen(PROTO_UDP, GENERATOR_PORT, 0);
  stack.listen(PROTO_TCP, GENERATOR_PORT, 0);
  stack.listen(PROTO_UDP, RESPOND_PORT, RESPOND_SOCKET);
  return { stack, apps };
}

/** Puts the application that the run wants behind the stack, as new. @throws RangeError when it cannot check such frames */
export function startApp(stack: Pick<RxStack, 'app'>, apps: Apps, run: Pick<Run, 'mode' | 'seed'>): void {
  // Beside the responder there may be a load, which is verified.
  if (run.mode === 'verify' || run.mode === 'respond') apps.verify.reset({ seed: run.seed });
  else apps[run.mode].reset();
  stack.app = apps[run.mode];
}
