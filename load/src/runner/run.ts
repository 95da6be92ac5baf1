/** One run: load on, warm up, measure between two snapshots, load off, let everything come to rest, look again. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { RunSettings, Configuration } from '@grantline/base';
import { configure, type DomainInfo, type ServiceClient } from '../control/client.js';
import {
  currentFaults,
  setFaults,
  startStreams,
  stopStreams,
  startLoad,
  stopLoad,
  startRequests,
  stopRequests,
  FAR_STATION,
  sendOrder,
  startSending,
  stopSending,
  startSink,
  measureRequests,
  requestRecord,
  requestStatus,
  type GeneratorLoad,
} from '../control/load-api.js';
import { announceRun, checkGuests, drain, type Bed } from './bed.js';
import type { RunPlan, RunRecord } from './record.js';
import type { Progress } from '../base/progress.js';
import { cpuTimes } from '../testbed/proc.js';
import type { PhaseName, Progression } from '../../page/messages.js';
import { directionLabel } from './observer.js';
import { figures } from './figures.js';
import { meanFrameBytes } from '../base/stats.js';
import { inDriverDomain, inGuests, inNic, rate, type Snapshot } from '../control/snapshot.js';

/** Frames of the load beside requests. */
const BULK_BYTES = 1514;

/** What a run in which guests send adds to what is announced. */
function sendPart(plan: RunPlan, guests: readonly DomainInfo[]): Partial<RunSettings> {
  const { protocol, flows, frameSizes, seed } = plan;
  // One flow to each guest, and back.
  if (plan.direction === 'rr') return { direction: 'rr', protocol: 'udp', flows: 1, to: FAR_STATION };
  const part = { direction: 'tx' as const, protocol, flows, to: FAR_STATION, order: sendOrder(frameSizes, seed) };
  return plan.direction === 'guest-to-guest' ? { ...part, pairs: pairsOf(guests) } : part;
}

/** Who sends to whom: the first guest to the second, the third to the fourth. */
const pairsOf = (guests: readonly DomainInfo[]): { from: number; to: { mac: string; ip: string } }[] =>
  guests.flatMap((g, i) => {
    const peer = guests[i + 1];
    return i % 2 === 1 || !peer ? [] : [{ from: g.domid, to: { mac: peer.mac ?? '', ip: peer.ip ?? '' } }];
  });

/** Those that send in a run of what guests send: all that take part, the first of each pair, or in native the domain that
 *  the application sits in. */
function sendersOf(bed: Bed, plan: RunPlan, native: boolean): ServiceClient[] {
  const pairs = plan.direction === 'guest-to-guest' ? pairsOf(bed.guests).map((p) => p.from) : null;
  const domids = new Set(pairs ?? bed.guests.map((g) => g.domid));
  return bed.services.filter((s) => (native ? s.kind === 'driver-domain' : domids.has(s.domid)));
}

/** The load of a run: how it begins, and how all of it ends. */
class RunLoad {
  private readonly bed: Bed;
  private readonly plan: RunPlan;
  private readonly native: boolean;
  /** What ends the parts that were begun, or whose beginning failed half way. */
  private readonly ends: (() => Promise<unknown>)[] = [];

  constructor(bed: Bed, plan: RunPlan, native: boolean) {
    this.bed = bed;
    this.plan = plan;
    this.native = native;
  }

  /** @param run as it was announced; streams are not */
  async begin(run: string): Promise<void> {
    const { bed, plan } = this;
    const { nic, guests } = bed;
    const { rr, streams, faults, seed, linkGbps } = plan;
    if (faults) {
      const found = await currentFaults(nic);
      await this.with(
        () => setFaults(nic, faults),
        () => setFaults(nic, found),
      );
    }
    if (rr) {
      const to = guests.map((g) => ({ mac: g.mac ?? '', ip: g.ip ?? '' }));
      const start = { seed, guests: to, frameBytes: plan.frameSizes[0], linkGbps };
      await this.with(
        () => startRequests(nic, start, rr),
        () => stopRequests(nic),
      );
      if (rr.beside === 'bulk') await this.generate(run, BULK_BYTES);
    } else if (streams !== undefined) {
      const direction = plan.direction === 'tx' ? 'tx' : 'rx';
      await this.with(
        () => startStreams(nic, { ips: guests.map((g) => g.ip ?? ''), direction, streams, linkGbps }),
        () => stopStreams(nic),
      );
    } else if (plan.direction === 'tx' || plan.direction === 'guest-to-guest') {
      const senders = sendersOf(bed, plan, this.native);
      await this.with(
        () => startSending(senders),
        () => stopSending(senders),
      );
    } else await this.generate(run, plan.frameSizes.length === 1 ? plan.frameSizes[0] : 'imix');
  }

  /** Ends what was begun, all of it, the last first. @throws the first failure */
  async end(): Promise<void> {
    const failures: unknown[] = [];
    for (let end = this.ends.pop(); end !== undefined; end = this.ends.pop())
      await end().catch((error: unknown) => failures.push(error));
    if (failures.length > 0) throw failures[0];
  }

  private async with(begin: () => Promise<unknown>, end: () => Promise<unknown>): Promise<void> {
    this.ends.push(end);
    await begin();
  }

  private generate(run: string, frameBytes: number | 'imix'): Promise<void> {
    const { plan } = this;
    const { nic, guests } = this.bed;
    const load: GeneratorLoad = {
      ...{ kind: 'generate', run, seed: plan.seed, frameBytes, protocol: plan.protocol },
      guests: guests.map((g) => ({ domid: g.domid, mac: g.mac ?? '', ip: g.ip ?? '' })),
      flowsPerGuest: plan.flows,
      linkGbps: plan.linkGbps,
      pause: plan.flowControl,
    };
    return this.with(
      () => startLoad(nic, load),
      () => stopLoad(nic),
    );
  }
}

const LIVE_MS = 500;

/** Where in an experiment a run stands, for observers. */
export function placeOf(bed: Bed, config: Configuration, round: number, plan: RunPlan): Omit<Progression, 'phase'> {
  return {
    run: plan.name,
    config: config.name,
    direction: directionLabel(plan.direction, plan.streams !== undefined),
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
  const isBetween = plan.direction === 'guest-to-guest';
  const { streams } = plan;
  const tx = streams === undefined && (plan.direction === 'tx' || isBetween);
  const { rr } = plan;
  const ends = native ? inDriverDomain : inGuests;
  const receivers = plan.direction === 'tx' || rr ? inNic : ends;
  const place = placeOf(bed, config, round, plan);
  const enter = (phase: PhaseName): Promise<void> => bed.observer.phase({ ...place, phase });
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
    direction: plan.direction,
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
  const atRest = rr ? await requestStatus(bed.nic) : null;
  const request = rr && measured && atRest ? { rr: requestRecord(rr, measured, atRest, result.seconds) } : {};
  const record = { ...result, ...request, raw: { a, b, c } };
  await bed.observer.finished(plan.name, record);
  return record;
}
