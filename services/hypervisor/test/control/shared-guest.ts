/** A guest whose code was replaced: does to what it shares all that could hurt others, and says on a line what came of each. It goes
 *  by the environment of a guest. Not a test itself. */
import { spawnSync } from 'node:child_process';
import { ftruncateSync, openSync, writeSync } from 'node:fs';
import { HypervisorClient, readEnv, createLog, dropPrivileges } from '@grantline/service';
import type { SharedKind } from '@grantline/xen';

const env = readEnv('guest');
const client = await HypervisorClient.connect(env, createLog(env));
dropPrivileges(env);
await client.request('evtchn.allocUnbound', { remote: 1000 });

const tried = (fn: () => void): string => {
  try {
    fn();
    return 'ok';
  } catch (err) {
    return (err as NodeJS.ErrnoException).code ?? String(err);
  }
};
const said: Record<string, string> = {};
const kinds: [SharedKind, number][] = [
  ['memory', 4 << 20],
  ['counters', 256 << 10],
  ['page', 4096],
];
for (const [of, bytes] of kinds) {
  const fd = await client.descriptor(of, of === 'page' ? (1000 as typeof client.domid) : client.domid);
  // Also by way of a program that knows the system's other calls.
  const fallocate = (...args: string[]): string =>
    spawnSync('fallocate', [...args, '/proc/self/fd/3'], { stdio: ['ignore', 'ignore', 'pipe', fd], encoding: 'utf8' })
      .stderr.trim()
      .replace(/^.*: /, '');
  said[of] = [
    tried(() => ftruncateSync(fd, 0)),
    tried(() => ftruncateSync(fd, bytes * 100)),
    tried(() => void writeSync(fd, Buffer.alloc(8), 0, 8, bytes)),
    tried(() => {
      ftruncateSync(openSync(`/proc/self/fd/${fd}`, 'r+'), 0);
    }),
    fallocate('-l', String(bytes * 100)),
    // A hole is a page of zeros for whoever looks next.
    fallocate('-p', '-o', '0', '-l', String(bytes)),
  ].join(' ');
}
for (const [of, domid] of [
  ['memory', 2],
  ['memory', 1000],
  ['page', 1001],
  ['ringer', 2],
  ['ringer', 1001],
  ['counters', 2],
  ['doorbell', 1000],
  ['dma-table', 1001],
  ['dma-burst', 1],
] as [SharedKind, number][])
  said[`${of} ${domid}`] = await client.descriptor(of, domid as typeof client.domid).then(
    () => 'ok',
    (err: { code: string }) => err.code,
  );
// The descriptors of the hypervisor's own process.
said['proc'] = tried(() => openSync(`/proc/${process.argv[2]}/fd/${process.argv[3]}`, 'r+'));
process.stdout.write(`${JSON.stringify(said)}\n`);
await client.close();
