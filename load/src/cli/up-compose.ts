/** grantline up --compose, grantline down --compose: the testbed in containers. */
import { terminalProgress } from '../base/progress.js';
import { PORTS, Stack, urlOf } from '../compose/stack.js';
import { session } from '../control/session.js';

/** Starts the containers and returns once all answer: from then on they run by themselves.
 *  @throws UserError, RunError; then what was started by this is gone again */
export async function upCompose(guests: number): Promise<void> {
  const stack = await Stack.open();
  const progress = terminalProgress();
  const wasRunning = await stack.isRunning();
  let ready = false;
  const stop = async (): Promise<void> => {
    progress.clear();
    if (ready) return;
    // What ran before stays, with as many more guests as there are by now.
    await (wasRunning ? stack.halt() : stack.down());
  };
  await session({ stop, killNow: () => {} }, null, async () => {
    await stack.up(guests, progress);
    await stack.untilReady(guests, progress);
    ready = true;
  });
  const width = Math.max(...PORTS.map((p) => p.what.length));
  for (const p of PORTS)
    process.stdout.write(`${p.what.padEnd(width)}  ${urlOf(p)}${p.show}${p.what === 'nic' ? ' -> guest1' : ''}\n`);
  process.stdout.write(
    `Running in containers with ${guests} guest${guests === 1 ? '' : 's'}; a cycle of all configurations runs on them. ` +
      `Logs: ${stack.engine.command} logs. Stop with: npx grantline down --compose\n`,
  );
}

export async function downCompose(): Promise<void> {
  const stack = await Stack.open();
  const progress = terminalProgress();
  progress.live('removing containers');
  await stack.down();
  progress.clear();
  process.stdout.write('Containers, networks and volumes of the testbed are gone.\n');
}
