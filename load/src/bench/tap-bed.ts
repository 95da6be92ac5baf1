/** Kernels behind TAP devices at both ends of the path: what scenarios with programs of the system need. In namespaces of its own. */
import { execFile, spawnSync } from 'node:child_process';
import type { Placement } from '@grantline/base';
import { configure } from '../control/client.js';
import { farTapEnv, guestTapEnv, parseTaps } from '../testbed/taps.js';
import { freshTestbed } from './fresh-testbed.js';
import { named } from './scenario.js';

const TAG = `gb${process.pid % 100000}`;
/** Namespaces of the kernels at the far end of the cable and in the guest, and one for what is compared with them. */
export const [FAR, GUEST, MIDDLE] = ['f', 'g', 'm'].map((end) => TAG + end) as [string, string, string];
export const GUEST_IP = '10.77.0.1';

interface Done {
  code: number;
  out: string;
}

export const run = (file: string, args: readonly string[]): Promise<Done> =>
  new Promise((resolve) => {
    execFile(file, args, { timeout: 60_000 }, (error, out) => resolve({ code: error === null ? 0 : 1, out }));
  });
export const ip = (...args: string[]): Promise<Done> => run('ip', args);

/** @param tools programs that are needed @returns why it cannot be measured here; null: it can */
export async function whyNot(tools: readonly string[]): Promise<string | null> {
  if (process.getuid?.() !== 0) return 'not root';
  const { tryTap } = await import('@grantline/machine');
  const refusal = tryTap({ name: TAG, netns: null });
  if (refusal !== null) return refusal.what;
  for (const tool of ['ip', ...tools])
    if ((await run('sh', ['-c', `command -v ${tool}`])).code !== 0) return `there is no ${tool}`;
  return null;
}

/** Runs `work` while there are the namespaces of the far end and of the guest. */
export async function inNamespaces<T>(work: () => Promise<T>): Promise<T> {
  // Also where the command is interrupted, and all of them: whoever made the one in the middle may not have come to its end.
  const remove = (): void => {
    for (const ns of [FAR, GUEST, MIDDLE]) spawnSync('ip', ['netns', 'del', ns], { stdio: 'ignore' });
  };
  process.once('exit', remove);
  try {
    for (const ns of [FAR, GUEST]) {
      await ip('netns', 'add', ns);
      await ip('-n', ns, 'link', 'set', 'lo', 'up');
    }
    return await work();
  } finally {
    process.off('exit', remove);
    remove();
  }
}

/** Runs `work` on a testbed in `optimised` with a kernel at each end. @param offload with vnet headers and offloads */
export function betweenKernels<T>(offload: boolean, placement: Placement, work: () => Promise<T>): Promise<T> {
  const taps = parseTaps({ tap: `gl0,${FAR}`, guestTap: [`gl1,${GUEST}`], tapOffload: offload }, 1);
  const environment = { nic: farTapEnv(taps), guest: (domid: number) => guestTapEnv(taps, domid), guests: [1] };
  return freshTestbed({ placement, taps: environment }, async (client) => {
    await configure(client, named('optimised'));
    return work();
  });
}
