/** Bodies through the edge and the guest's stack, each beside the same application on plain loopback in the same round: a long body on
 *  one connection, uploads, bodies of 1 MB and small answers on many. docs/measuring.md */
import { setTimeout as sleep } from 'node:timers/promises';
import { allowedCores, coreFor } from '@grantline/base';
import { callBytes } from '../base/http.js';
import { RunError } from '../base/errors.js';
import type { Progress } from '../base/progress.js';
import { configure } from '../control/client.js';
import { webDoors } from '../control/load-api.js';
import { Child, Loopback } from '../http/child.js';
import { abbaOrder } from '../runner/compare.js';
import type { Bed } from '../runner/bed.js';
import { programOf } from '../testbed/paths.js';
import type { BodyClientSays, BodyCount, BodyPlan, BodyRun } from './body-client-main.js';
import { checkOf, type Check } from './checks.js';
import { named, type Scenario } from './scenario.js';

const CLIENT = programOf('load/dist/src/bench/body-client-main.js');
const CONNECTIONS = 50;
const MB = 1e6;
const WARMUP_S = 0.5;
/** What a run may take beyond its own time. */
const SLACK_MS = 20_000;
const UP_LIMIT_MS = 5000;

export const JOBS = {
  one: { name: 'one connection, 1 GB', path: '/bytes/1000000000', upload: null, connections: 1 },
  upload: { name: 'one connection, uploads of 16 MB', path: '/bytes', upload: 16 << 20, connections: 1 },
  many: {
    name: `${CONNECTIONS} connections, bodies of 1 MB`,
    path: '/bytes/1000000',
    upload: null,
    connections: CONNECTIONS,
  },
  small: { name: `${CONNECTIONS} connections, small answers`, path: '/', upload: null, connections: CONNECTIONS },
} as const;
type Job = keyof typeof JOBS;

/** A run of the client. @param cpuSeconds of the server so far */
async function drive(plan: BodyPlan, cpuSeconds: () => Promise<number>): Promise<BodyCount & { cpuSeconds: number }> {
  const child = new Child('the client of bodies', CLIENT);
  try {
    const at: Promise<number>[] = [];
    const count = child.hear(
      (message) => {
        const said = message as BodyClientSays;
        if ('failed' in said) throw new RunError(`no bodies from ${plan.url}: ${said.failed}`);
        if ('count' in said) return said.count;
        const seconds = cpuSeconds();
        // It may fail while nobody awaits it.
        seconds.catch(() => {});
        at.push(seconds);
        return undefined;
      },
      (plan.warmup + plan.seconds) * 1000 + SLACK_MS,
    );
    child.process.send(plan);
    const counted = await count;
    const [begin, end] = await Promise.all(at);
    return { ...counted, cpuSeconds: end - begin };
  } finally {
    await child.stop();
  }
}

/** Where the first guest is reached, once it answers in the configuration that was set. */
async function edgeOf(bed: Bed): Promise<string> {
  const url = (await webDoors(bed.nic)).find((d) => d.domid === bed.guests[0]?.domid)?.url;
  if (url === undefined || url === null) throw new RunError('the far end of the cable has no edge for the guest');
  for (const end = performance.now() + UP_LIMIT_MS; ; await sleep(50)) {
    try {
      await callBytes('the edge', url, '/', { timeoutMs: 1000 });
      return url;
    } catch (error) {
      if (performance.now() > end) throw error;
    }
  }
}

async function measure(bed: Bed, rounds: number, seconds: number, progress: Progress): Promise<BodyRun[]> {
  await configure(bed.client, named('optimised'));
  const edge = await edgeOf(bed);
  const loopback = await Loopback.start(coreFor('guest', 0, allowedCores(), bed.placed?.placement ?? 'apart'));
  const targets: readonly (readonly [BodyRun['target'], string, () => Promise<number>])[] = [
    ['loopback', loopback.url, async () => (await loopback.usage()).cpuNs / 1e9],
    ['edge', edge, async () => (await bed.client.snapshot([bed.nic]))[0].processCpuNs / 1e9],
  ];
  const jobs = Object.keys(JOBS) as Job[];
  const runs: BodyRun[] = [];
  try {
    // Both begin interpreted: a round that does not count.
    for (let round = -1, order = abbaOrder(targets.length, rounds); round < rounds; round++)
      for (const job of jobs)
        for (const i of order[Math.max(0, round)]) {
          const [target, url, cpu] = targets[i];
          const plan = { ...JOBS[job], url, warmup: WARMUP_S, seconds: round < 0 ? WARMUP_S : seconds };
          const run = { job, target, round, ...(await drive(plan, cpu)) };
          if (round < 0) continue;
          runs.push(run);
          const rate = `${gbps(run).toFixed(2)} Gb/s, ${perSecond(run).toFixed(0)} answers/s`;
          progress.line(`  ${target.padEnd(8)} ${round + 1}: ${JOBS[job].name}: ${rate}`);
        }
  } finally {
    await loopback.stop();
  }
  return runs;
}

const gbps = (r: BodyRun): number => (r.bytes * 8) / r.seconds / 1e9;
const perSecond = (r: BodyRun): number => r.answers / r.seconds;
const cpuMsPerMB = (r: BodyRun): number => (r.cpuSeconds * 1000) / (r.bytes / MB);

/** What the runs came to. */
export function bodyChecks(runs: readonly BodyRun[]): Check[] {
  const of = (job: Job, target: BodyRun['target']): BodyRun[] =>
    runs.filter((r) => r.job === job && r.target === target);
  /** The edge's over loopback's of the same round. */
  const ratios = (job: Job, figure: (r: BodyRun) => number): number[] =>
    of(job, 'edge').flatMap((r) => {
      const beside = of(job, 'loopback').find((l) => l.round === r.round);
      return beside ? [figure(r) / figure(beside)] : [];
    });
  const shown = { atLeast: 0 };
  const rates = (job: Job, wanted: Check['wanted']): Check[] => [
    checkOf(`${JOBS[job].name}, optimised`, 'Gb/s', of(job, 'edge').map(gbps), wanted),
    checkOf(`${JOBS[job].name}, loopback`, 'Gb/s', of(job, 'loopback').map(gbps), shown),
  ];
  return [
    ...rates('one', shown),
    checkOf(`${JOBS.one.name}: over loopback, same round`, 'times', ratios('one', gbps), { atLeast: 0.4 }),
    checkOf(`${JOBS.one.name}: CPU time of NIC and edge`, 'ms a MB', of('one', 'edge').map(cpuMsPerMB), {
      atMost: 0.5,
    }),
    ...rates('upload', shown),
    checkOf(`${JOBS.upload.name}: over loopback, same round`, 'times', ratios('upload', gbps), shown),
    checkOf(`${JOBS.upload.name}: CPU time of NIC and edge`, 'ms a MB', of('upload', 'edge').map(cpuMsPerMB), shown),
    ...rates('many', { atLeast: 5 }),
    checkOf(`${JOBS.small.name}, optimised`, 'answers/s', of('small', 'edge').map(perSecond), shown),
    checkOf(`${JOBS.small.name}, loopback`, 'answers/s', of('small', 'loopback').map(perSecond), shown),
    checkOf(
      `${JOBS.small.name}: share of loopback, same round`,
      '%',
      ratios('small', perSecond).map((x) => x * 100),
      { atLeast: 70 },
    ),
    checkOf(
      'bodies: broken connections, and answers not as asked for',
      'faults',
      [runs.reduce((n, r) => n + r.faults, 0)],
      {
        exactly: 0,
      },
    ),
  ];
}

export const bodies: Scenario = {
  name: 'bodies',
  guests: 1,
  cold: true,
  async run(bed, s, progress) {
    const runs = await measure(bed, s.runs, s.seconds, progress);
    return { checks: bodyChecks(runs), records: [], bodies: runs };
  },
};
