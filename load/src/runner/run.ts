/** One run: load on, warm up, measure between two snapshots, load off, let everything come to rest, look again. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Configuration } from '@grantline/base';
import type { Progress } from '../base/progress.js';
import { cpuTimes } from '../testbed/proc.js';
import { configure } from '../control/configure.js';
import { announceRun, checkGuests, drain, type Bed } from './bed.js';
import { directionLabel, type Phase } from './labels.js';
import { figures } from './figures.js';
import type { Progression } from './observer.js';
import { startSink } from '../control/send-load.js';
import { meanFrameBytes } from './frame-sizes.js';
import { measureRequests, requestRecord, requestStatus } from './requests.js';
import type { RunRecord } from './record.js';
import { RunLoad, sendPart } from './run-load.js';
import type { RunPlan } from './run-plan.js';
import { inDriverDomain, inGuests, inNic, rate, type Snapshot } from '../control/snapshot.js';

const LIVE_MS = 500;

/** Where in an experiment a run stands, for observers. */
export function placeOf(bed: Bed, config: Configuration, round: number, plan: RunPlan): Omit<Progression, 'phase'> {
  return {
    run: plan.name,
    config: config.name,
    direction: directionLabel(plan.direction ?? 'rx', plan.streams !== undefined),
    round,
    frameBytes: meanFrameBytes(plan.frameSizes),
    guests: bed.guests.length,
    linkGbps: plan.linkGbps,
  };
}

/** Configures the testbed, runs the load, and gives the record. */
export async function runOnce(
  bed: Bed,
  config: Configuration,
  round: number,
  plan: RunPlan,
  progress: Progress,
): Promise<RunRecord> {
  const { client, services } = bed;
  const native = config.factors.path === 'native';
  const between = plan.direction === 'guest-to-guest';
  const { streams } = plan;
  const tx = streams === undefined && (plan.direction === 'tx' || between);
  const { rr } = plan;
  const ends = native ? inDriverDomain : inGuests;
  const receivers = plan.direction === 'tx' || rr ? inNic : ends;
  const place = placeOf(bed, config, round, plan);
  const enter = (phase: Phase): Promise<void> => bed.observer.phase({ ...place, phase });
  progress.live(`${config.name}: configuring`);
  await enter('configure');
  await configure(client, config);
  const { seed, frameSizes, linkGbps } = plan;
  if (tx || rr) await startSink(bed.nic, { seed, frameSizes, linkGbps });
  const run =
    streams !== undefined
      ? ''
      : await announceRun(bed, native, {
          seed,
          mode: rr ? 'respond' : 'verify',
          frameSizes,
          ...(tx || rr ? sendPart(plan, bed.guests) : {}),
        });
  await client.resetCounters(services);
  const signal = plan.signal ?? bed.signal;
  signal?.throwIfAborted();
  const load = new RunLoad(bed, plan, native);
  let a: Snapshot;
  let b: Snapshot;
  let stealShare: number;
  let measured: Awaited<ReturnType<typeof requestStatus>> | null = null;
  try {
    await load.begin(run);
    progress.live(`${config.name}: warming up`);
    await enter('warmup');
    await sleep(plan.warmup * 1000, null, { signal });
    await enter('measure');
    if (rr) await measureRequests(bed.nic);
    const cpuBefore = cpuTimes();
    const start = performance.now();
    a = await client.snapshot(services);
    let last = a;
    const counted = streams === undefined ? (['app', 'bytes'] as const) : (['tcpApp', 'receivedBytes'] as const);
    const watched = services.filter(
      (s) => s.kind === (receivers === inNic ? 'nic' : native ? 'driver-domain' : 'guest'),
    );
    for (;;) {
      const left = plan.seconds * 1000 - (performance.now() - start);
      // A look costs the services a few hundred microseconds: seldom enough not to count, and never right before the end.
      if (left < LIVE_MS * 1.5 || !progress.isLive) {
        await sleep(Math.max(0, left), null, { signal });
        break;
      }
      await sleep(LIVE_MS, null, { signal });
      const now = await client.snapshot(watched);
      const gbps = (rate(last, now, counted[0], counted[1], receivers) * 8) / 1e9;
      progress.live(
        `${config.name}: ${gbps.toFixed(2)} Gb/s, ${Math.max(0, (plan.seconds * 1000 - (performance.now() - start)) / 1000).toFixed(1)} s left`,
      );
      last = now;
    }
    if (rr) measured = await requestStatus(bed.nic);
    b = await client.snapshot(services);
    const cpuAfter = cpuTimes();
    stealShare = (cpuAfter.steal - cpuBefore.steal) / Math.max(1, cpuAfter.total - cpuBefore.total);
  } finally {
    await load.end();
  }
  progress.live(`${config.name}: draining`);
  await enter('drain');
  const c = await drain(bed);
  await checkGuests(bed);
  const result = figures({
    config: config.name,
    direction: plan.direction ?? 'rx',
    factors: config.factors,
    round,
    tcp: streams !== undefined,
    guests: bed.guests.length,
    frameBytes: meanFrameBytes(plan.frameSizes),
    seconds: plan.seconds,
    linkGbps: plan.linkGbps,
    flowControl: plan.flowControl,
    stealShare,
    a,
    b,
    c,
  });
  const rest = rr ? await requestStatus(bed.nic) : null;
  const request = rr && measured && rest ? { rr: requestRecord(rr, measured, rest, result.seconds) } : {};
  const record = { ...result, ...request, raw: { a, b, c } };
  await bed.observer.finished(plan.name, record);
  return record;
}
