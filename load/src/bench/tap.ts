/** TAP, a kernel at both ends of the path: TCP by iperf3 through `optimised`, both directions, with and without vnet header and
 *  offloads, beside what the kernel's own veth and bridge give here without offload. In namespaces of its own. */
import { spawn, type ChildProcess } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { allowedCores, coreFor, type Placement } from '@grantline/base';
import type { Progress } from '../base/progress.js';
import { checkOf, type Check } from './checks.js';
import type { BenchSettings, Scenario } from './scenario.js';
import { betweenKernels, FAR, GUEST, GUEST_IP, inNamespaces, ip, MIDDLE, run, whyNot } from './tap-bed.js';

/** Programs that it needs. */
const TOOLS = ['iperf3', 'ethtool', 'taskset'];

/** Seconds before those that count: services begin interpreted, and TCP with a small window. */
const WARM_SECONDS = 2;

/** Each of the two programs stays beside its end of the path, in the kernel's stretch as in ours: left to the scheduler they wander, and
 *  figures vary by half. Where both ends are on one core, which is then full, they are left to it.
 *  @returns what makes a command run on that core only */
function besideEnd(end: 'nic' | 'guest', placement: Placement): string[] {
  const core = placement === 'apart' ? coreFor(end, 0, allowedCores()) : null;
  return core === null ? [] : ['taskset', '-c', String(core)];
}

/** Gb/s that arrive; NaN when the two cannot talk. @param seconds rounded up: iperf3 knows whole ones only */
async function iperf(seconds: number, placement: Placement, more: readonly string[]): Promise<number> {
  const { out } = await run('ip', [
    ...['netns', 'exec', FAR, ...besideEnd('nic', placement)],
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

function serve(placement: Placement): ChildProcess {
  const command = [...besideEnd('guest', placement), 'iperf3', '-s'];
  return spawn('ip', ['netns', 'exec', GUEST, ...command], { stdio: 'ignore' });
}

/** Both directions, in turn. @param what names the way in the lines */
async function bothWays(
  what: string,
  placement: Placement,
  s: BenchSettings,
  progress: Progress,
): Promise<{ to: number[]; from: number[] }> {
  const to: number[] = [];
  const from: number[] = [];
  // A new server for each stretch: the last one may not have heard that its client's way was taken away.
  const server = serve(placement);
  try {
    await sleep(200);
    for (let i = 0; i < s.runs; i++) {
      to.push(await iperf(s.seconds, placement, []));
      from.push(await iperf(s.seconds, placement, ['-R']));
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
    return (await bothWays('veth and bridge, no offload', 'apart', s, progress)).to;
  } finally {
    await ip('netns', 'del', MIDDLE);
  }
}

async function throughTap(
  offload: boolean,
  placement: Placement,
  s: BenchSettings,
  progress: Progress,
): Promise<{ to: number[]; from: number[] }> {
  const what = offload ? 'TAP with offloads' : 'TAP without offloads';
  return betweenKernels(offload, placement, () => bothWays(what, placement, s, progress));
}

async function measure(placement: Placement, s: BenchSettings, progress: Progress): Promise<Check[]> {
  const kernel = await bridged(s, progress);
  const plain = await throughTap(false, placement, s, progress);
  const offloaded = await throughTap(true, placement, s, progress);
  return [
    checkOf('veth and bridge, offload off, iperf3 TCP', 'Gb/s', kernel, { atLeast: 0 }),
    checkOf('TAP without offloads, to the guest', 'Gb/s', plain.to, { atLeast: 0 }),
    checkOf('TAP without offloads, from the guest', 'Gb/s', plain.from, { atLeast: 0 }),
    checkOf('TAP with offloads, to the guest', 'Gb/s', offloaded.to, { atLeast: 4 }, 10),
    checkOf('TAP with offloads, from the guest', 'Gb/s', offloaded.from, { atLeast: 4 }, 10),
  ];
}

/** Skips, saying why, where TAP devices or the programs are not to be had. */
export const tap: Scenario = {
  name: 'tap',
  guests: 1,
  cold: true,
  async run(bed, s, progress) {
    const why = await whyNot(TOOLS);
    if (why !== null) {
      progress.line(`  tap: skipped: ${why}`);
      return { checks: [], records: [] };
    }
    const placement = bed.placed?.placement ?? 'apart';
    return { checks: await inNamespaces(() => measure(placement, s, progress)), records: [] };
  },
};
