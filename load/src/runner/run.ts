/** One run: load on, warm up, measure between two snapshots, load off, let everything come to rest, look again. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Configuration, CableFaults, RunSettings } from '@grantline/base';
import { RunError } from '../base/errors.js';
import type { Progress } from '../base/progress.js';
import { cpuTimes } from '../testbed/proc.js';
import type { Client, DomainInfo, ServiceClient } from '../control/client.js';
import { configure } from '../control/configure.js';
import type { Protocol } from '../control/nic-load.js';
import type { Direction } from './conservation.js';
import { directionLabel, type Phase } from './labels.js';
import { figures } from './figures.js';
import { observers, type Observer, type Progression } from './observer.js';
import { startSink } from '../control/send-load.js';
import { meanFrameBytes } from './frame-sizes.js';
import { measureRequests, requestRecord, requestStatus, type RequestPlan } from './requests.js';
import type { RunRecord } from './record.js';
import { RunLoad, sendPart } from './run-load.js';
import { inDriverDomain, inGuests, inNic, rate, sum, type Snapshot } from '../control/snapshot.js';

export interface RunPlan {
  /** Which way frames go, as the guest sees it; rx when not given. */
  direction?: Direction;
  /** TCP streams to each guest carry the load, between the outer stack and its applications; not given: frames do. */
  streams?: number;
  /** Name of the comparison that the run is part of: its results folder. */
  name: string;
  frameSizes: number[];
  seconds: number;
  warmup: number;
  linkGbps: number | null;
  flowControl: boolean;
  protocol: Protocol;
  flows: number;
  seed: number;
  /** Given where the direction is rr; frameSizes[0] is the size of requests. */
  rr?: RequestPlan;
  /** Faults on the cable for as long as the run goes. */
  faults?: CableFaults | null;
  /** Aborted: no load is started any more, and one that runs is stopped. */
  signal?: AbortSignal;
}

/** A testbed with the guests that take part. */
export interface Bed {
  client: Client;
  services: ServiceClient[];
  nic: ServiceClient;
  guests: DomainInfo[];
  observer: Observer;
  /** Whose testbed it is, for results. */
  testbed?: string;
  /** Aborted: whatever goes on with it is to end, and to leave it as it was. */
  signal?: AbortSignal;
}

const READY_LIMIT_MS = 10_000;
const DRAIN_LIMIT_MS = 2000;
const DRAIN_LOOK_MS = 40;
const LIVE_MS = 500;

/** @param guests how many of the running guests take part. @throws RunError when there are fewer */
export async function openBed(
  client: Client,
  guests: number,
  observer: Observer = observers(),
  signal?: AbortSignal,
): Promise<Bed> {
  const { domains } = await client.testbed();
  const running = domains.filter((d) => d.kind === 'guest' && d.state === 'running').sort((x, y) => x.domid - y.domid);
  if (running.length < guests) throw new RunError(`the testbed has ${running.length} guests, ${guests} are asked for`);
  const services = await client.services();
  const nic = services.find((s) => s.kind === 'nic');
  if (!nic) throw new RunError('the testbed has no NIC');
  return { client, services, nic, guests: running.slice(0, guests), observer, ...(signal ? { signal } : {}) };
}

/** Tells the receivers what comes and waits until they are ready. @returns the run's id */
export async function announceRun(bed: Bed, native: boolean, run: Omit<RunSettings, 'id' | 'guests'>): Promise<string> {
  const id = ((await bed.client.run()).run?.id ?? 0) + 1;
  const guests = bed.guests.map((g) => g.domid);
  await bed.client.putRun({ ...run, id, guests });
  const wanted = native ? bed.services.filter((s) => s.kind === 'driver-domain').map((s) => s.domid) : guests;
  const end = performance.now() + READY_LIMIT_MS;
  for (;;) {
    const { ready } = await bed.client.run();
    const missing = wanted.filter((d) => !ready.includes(d));
    if (missing.length === 0) return String(id);
    if (performance.now() > end)
      throw new RunError(
        `domain ${missing.join(', ')} did not get ready for the run within ${READY_LIMIT_MS / 1000} s`,
      );
    await sleep(10);
  }
}

/** @throws RunError when a guest of the run has ended meanwhile: what was measured is not what was asked for */
export async function checkGuests(bed: Pick<Bed, 'client' | 'guests'>): Promise<void> {
  const { domains } = await bed.client.testbed();
  const running = new Set(domains.filter((d) => d.state === 'running').map((d) => d.domid));
  const dead = bed.guests.filter((g) => !running.has(g.domid)).map((g) => `guest${g.domid}`);
  if (dead.length > 0) throw new RunError(`${dead.join(', ')} died during the run`);
}

/** Waits until no frame moves any more. @returns the snapshot in which all is at rest
 *  @throws RunError when something still moves after the limit */
export async function drain(bed: Bed): Promise<Snapshot> {
  const end = performance.now() + DRAIN_LIMIT_MS;
  let before = '';
  for (;;) {
    const snap = await bed.client.snapshot(bed.services);
    const now = movement(snap);
    if (now === before) return snap;
    if (performance.now() > end)
      throw new RunError(`frames were still moving ${DRAIN_LIMIT_MS / 1000} s after the load stopped`);
    before = now;
    await sleep(DRAIN_LOOK_MS);
  }
}

function movement(snap: Snapshot): string {
  return [
    sum(snap, 'cable', 'sentFrames') + sum(snap, 'cable', 'stationFrames'),
    sum(snap, 'net', 'inPackets') + sum(snap, 'net', 'outPackets'),
    sum(snap, 'nic', 'inFrames'),
    sum(snap, 'driver', 'frames'),
    sum(snap, 'netback', 'outFrames'),
    sum(snap, 'netfront', 'frames'),
    sum(snap, 'stack', 'inFrames'),
    sum(snap, 'app', 'frames'),
    sum(snap, 'sender', 'frames'),
    sum(snap, 'netfrontTx', 'sent') + sum(snap, 'netfrontTx', 'dropError'),
    sum(snap, 'egress', 'frames'),
    sum(snap, 'responder', 'requests'),
    sum(snap, 'faults', 'held'),
  ].join(' ');
}

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
