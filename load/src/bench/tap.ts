/** TAP, a kernel at both ends of the path: TCP by iperf3 through `optimised`, both directions, with and without vnet header and
 *  offloads, beside what the kernel's own veth and bridge give here without offload. In namespaces of its own. */
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { allowedCores, coreFor } from '@grantline/base';
import { parseTaps, farTapEnv, guestTapEnv } from '../testbed/taps.js';
import type { Progress } from '../base/progress.js';
import { configure } from '../control/client.js';
import { Supervisor } from '../testbed/supervisor.js';
import { named, type BenchSettings, type Scenario } from './scenario.js';
import { checkOf, type Check } from './checks.js';

const TAG = `gb${process.pid % 100000}`;
const [FAR, GUEST, MIDDLE] = ['f', 'g', 'm'].map((end) => TAG + end) as [string, string, string];
const GUEST_IP = '10.77.0.1';

interface Done {
  code: number;
  out: string;
}

const run = (file: string, args: readonly string[]): Promise<Done> =>
  new Promise((resolve) => {
    execFile(file, args, { timeout: 60_000 }, (error, out) => resolve({ code: error === null ? 0 : 1, out }));
  });
const ip = (...args: string[]): Promise<Done> => run('ip', args);

/** @returns why it cannot be measured here; null: it can */
async function whyNot(): Promise<string | null> {
  if (process.getuid?.() !== 0) return 'not root';
  const { tryTap } = await import('@grantline/machine');
  const refusal = tryTap({ name: TAG, netns: null });
  if (refusal !== null) return refusal.what;
  for (const tool of ['ip', 'iperf3', 'ethtool', 'taskset'])
    if ((await run('sh', ['-c', `command -v ${tool}`])).code !== 0) return `there is no ${tool}`;
  return null;
}

/** Seconds before those that count: services begin interpreted, and TCP with a small window. */
const WARM_SECONDS = 2;

/** Each of the two programs stays beside its end of the path, in the kernel's stretch as in ours: left to the scheduler they wander, and
 *  figures vary by half. @returns what makes a command run on that core only */
function onCore(core: number | null): string[] {
  return core === null ? [] : ['taskset', '-c', String(core)];
}

/** Gb/s that arrive; NaN when the two cannot talk. @param seconds rounded up: iperf3 knows whole ones only */
async function iperf(seconds: number, more: readonly string[]): Promise<number> {
  const { out } = await run('ip', [
    ...['netns', 'exec', FAR, ...onCore(coreFor('nic', 0, allowedCores()))],
    ...['iperf3', '-J', '-O', String(WARM_SECONDS), '-t', String(Math.ceil(seconds)), '-c', GUEST_IP],
    ...more,
  ]);
  try {
    const { end } = JSON.parse(out) as { end: { sum_received?: { bits_per_second: number } } };
    return (end.sum_received?.bits_per_second ?? NaN) / 1e9;
  } catch {
    return NaN;
  }
}

function serve(): ChildProcess {
  const command = [...onCore(coreFor('guest', 0, allowedCores())), 'iperf3', '-s'];
  return spawn('ip', ['netns', 'exec', GUEST, ...command], { stdio: 'ignore' });
}

/** Both directions, in turn. @param what names the way in the lines */
async function bothWays(what: string, s: BenchSettings, progress: Progress): Promise<{ to: number[]; from: number[] }> {
  const to: number[] = [];
  const from: number[] = [];
  // A new server for each stretch: the last one may not have heard that its client's way was taken away.
  const server = serve();
  try {
    await sleep(200);
    for (let i = 0; i < s.runs; i++) {
      to.push(await iperf(s.seconds, []));
      from.push(await iperf(s.seconds, ['-R']));
      progress.line(
        `  ${what} ${i + 1}/${s.runs}: ${to[i].toFixed(2)} Gb/s to the guest, ${from[i].toFixed(2)} from it`,
      );
    }
  } finally {
    const gone = new Promise((done) => server.once('exit', done));
    server.kill('SIGKILL');
    await gone;
  }
  return { to, from };
}

/** Two namespaces joined by a bridge in a third, as the figure of 4.0 Gb/s was measured. */
async function bridged(s: BenchSettings, progress: Progress): Promise<number[]> {
  await ip('netns', 'add', MIDDLE);
  await ip('-n', MIDDLE, 'link', 'add', 'br0', 'type', 'bridge');
  for (const [ns, port, address] of [
    [FAR, 'p0', '10.77.255.254/16'],
    [GUEST, 'p1', `${GUEST_IP}/16`],
  ] as const) {
    await ip('-n', MIDDLE, 'link', 'add', port, 'type', 'veth', 'peer', 'name', 'v0', 'netns', ns);
    await ip('-n', MIDDLE, 'link', 'set', port, 'master', 'br0', 'up');
    await ip('-n', ns, 'addr', 'add', address, 'dev', 'v0');
    await ip('-n', ns, 'link', 'set', 'v0', 'up');
    for (const [at, device] of [
      [ns, 'v0'],
      [MIDDLE, port],
    ])
      await ip('netns', 'exec', at, 'ethtool', '-K', device, 'tso', 'off', 'gso', 'off', 'gro', 'off', 'tx', 'off');
  }
  await ip('-n', MIDDLE, 'link', 'set', 'br0', 'up');
  try {
    await sleep(500);
    return (await bothWays('veth and bridge, no offload', s, progress)).to;
  } finally {
    await ip('netns', 'del', MIDDLE);
  }
}

async function throughTap(
  offload: boolean,
  s: BenchSettings,
  progress: Progress,
): Promise<{ to: number[]; from: number[] }> {
  const taps = parseTaps({ tap: `gl0,${FAR}`, guestTap: [`gl1,${GUEST}`], tapOffload: offload }, 1);
  const logDir = mkdtempSync(join(tmpdir(), 'grantline-bench-'));
  const supervisor = new Supervisor({
    ...{ dir: `/dev/shm/grantline-bench-${process.pid}`, guests: 1, use: 'own', logDir },
    taps: { nic: farTapEnv(taps), guest: (domid) => guestTapEnv(taps, domid), guests: [1] },
  });
  try {
    const client = await supervisor.start();
    await configure(client, named('optimised'));
    return await bothWays(offload ? 'TAP with offloads' : 'TAP without offloads', s, progress);
  } finally {
    await supervisor.stop();
    rmSync(logDir, { recursive: true, force: true });
  }
}

async function measure(s: BenchSettings, progress: Progress): Promise<Check[]> {
  for (const ns of [FAR, GUEST]) {
    await ip('netns', 'add', ns);
    await ip('-n', ns, 'link', 'set', 'lo', 'up');
  }
  try {
    const kernel = await bridged(s, progress);
    const plain = await throughTap(false, s, progress);
    const offloaded = await throughTap(true, s, progress);
    return [
      checkOf('veth and bridge, offload off, iperf3 TCP', 'Gb/s', kernel, { atLeast: 0 }),
      checkOf('TAP without offloads, to the guest', 'Gb/s', plain.to, { atLeast: 0 }),
      checkOf('TAP without offloads, from the guest', 'Gb/s', plain.from, { atLeast: 0 }),
      checkOf('TAP with offloads, to the guest', 'Gb/s', offloaded.to, { atLeast: 4 }, 10),
      checkOf('TAP with offloads, from the guest', 'Gb/s', offloaded.from, { atLeast: 4 }, 10),
    ];
  } finally {
    for (const ns of [FAR, GUEST]) await ip('netns', 'del', ns);
  }
}

/** Skips, saying why, where TAP devices or the programs are not to be had. */
export const tap: Scenario = {
  name: 'tap',
  guests: 1,
  cold: true,
  async run(_bed, s, progress) {
    const why = await whyNot();
    if (why !== null) {
      progress.line(`  tap: skipped: ${why}`);
      return { checks: [], records: [] };
    }
    return { checks: await measure(s, progress), records: [] };
  },
};
