/** Replays a capture through one configuration and compares what each guest got with what it had to get. */
import { setTimeout as sleep } from 'node:timers/promises';
import { UPLOAD_BYTES, parseCapture, type Capture, type MacMapping } from '@grantline/observe';
import type { Configuration } from '@grantline/base';
import { RunError } from '../base/errors.js';
import { configure, type ServiceClient } from '../control/client.js';
import { FrameBag, compareBags, expectedOf, sendableOf, type Difference } from './replay-expected.js';
import type { Progress } from '../base/progress.js';
import { checkConservation, dropsOf } from './conservation.js';
import { loadCapture, loadStatus, startLoad, stopLoad } from '../control/load-api.js';
import { announceRun, checkGuests, drain, type Bed } from './bed.js';
import { sum } from '../control/snapshot.js';

interface Summary {
  frames: number;
  bytes: number;
  /** Frames that there was no room for. */
  notKept: number;
}

/** The frames that a guest's application kept in a run of mode `record`. @throws RunError when it had no room for all */
export async function recordedBy(guest: ServiceClient): Promise<FrameBag> {
  const summary = await guest.call<Summary>('/recorded/summary', { timeoutMs: 60_000 });
  if (summary.notKept > 0)
    throw new RunError(`${guest.name} had no room to keep ${summary.notKept} frames: replay fewer loops`);
  const bag = new FrameBag();
  const capture = parseCapture(await guest.callBytes('/recorded', { timeoutMs: 60_000, maxBytes: UPLOAD_BYTES }));
  for (let i = 0; i < capture.count; i++)
    bag.add(capture.bytes.subarray(capture.offsets[i], capture.offsets[i] + capture.lengths[i]));
  return bag;
}

interface ReplayPlan {
  capture: Capture;
  mappings: MacMapping[];
  /** 0: as fast as possible; 1: as recorded; else how many times as fast. */
  pace: number;
  loops: number;
}

export interface ReplayResult {
  config: string;
  sentFrames: number;
  sentBytes: number;
  seconds: number;
  guests: ({ guest: string; mac: string } & Difference)[];
  drops: Record<string, number>;
  /** Frames of the capture that are longer than the cable carries. */
  oversize: number;
  conservation: 'ok' | string[];
  ok: boolean;
}

const LOOK_MS = 100;
/** What lasts longer is told before. */
const TELL_MS = 10_000;

/** One replay. @throws RunError when it does not end, or a guest could not keep all frames */
export async function replayOnce(
  bed: Bed,
  config: Configuration,
  plan: ReplayPlan,
  progress: Progress,
): Promise<ReplayResult> {
  const { client, services } = bed;
  progress.live(`${config.name}: configuring`);
  await configure(client, config);
  const sendable = sendableOf(plan.capture, plan.mappings);
  await loadCapture(bed.nic, sendable.file);
  const run = await announceRun(bed, false, { seed: 1, mode: 'record', frameSizes: [1514] });
  await client.resetCounters(services);
  bed.signal?.throwIfAborted();
  const start = performance.now();
  const pace = plan.pace === 0 ? 'max' : plan.pace === 1 ? 'recorded' : plan.pace;
  try {
    await startLoad(bed.nic, { kind: 'replay', run, pace, loops: plan.loops, linkGbps: null, pause: true });
    await finished(bed, plan, sendable.spanNs, progress);
  } finally {
    await stopLoad(bed.nic);
  }
  const seconds = (performance.now() - start) / 1000;
  const c = await drain(bed);
  await checkGuests(bed);
  const macs = bed.guests.map((g) => g.mac ?? '');
  const expected = expectedOf(plan.capture, plan.mappings, macs, plan.loops);
  const guests = [];
  for (const [i, guest] of bed.guests.entries()) {
    const service = services.find((s) => s.kind === 'guest' && s.domid === guest.domid);
    if (!service) throw new RunError(`${guest.name} is gone`);
    const got = await recordedBy(service);
    guests.push({ guest: service.name, mac: macs[i], ...compareBags(expected.must[i], expected.may, got) });
  }
  const conservation = checkConservation(c, config.factors.path, 'rx');
  return {
    config: config.name,
    sentFrames: sum(c, 'cable', 'sentFrames'),
    sentBytes: sum(c, 'cable', 'sentBytes'),
    seconds,
    guests,
    drops: dropsOf(c),
    oversize: sendable.oversize,
    conservation,
    ok: conservation === 'ok' && guests.every((g) => g.missing === 0 && g.extra === 0),
  };
}

/** Waits until all has been sent. At a recorded pace that takes as long as it took then. */
async function finished(bed: Bed, plan: ReplayPlan, spanNs: number, progress: Progress): Promise<void> {
  const takesMs = plan.pace === 0 ? 0 : (spanNs * plan.loops) / 1e6 / plan.pace;
  const limitMs = takesMs * 1.2 + 30_000;
  const all = (takesMs / 1000).toFixed(1);
  // A jump of the recorder's clock looks like a command that hangs.
  if (takesMs >= TELL_MS) progress.line(`At this pace the capture takes ${all} s; with --pace max it is sent at once.`);
  const start = performance.now();
  for (;;) {
    const { state } = await loadStatus(bed.nic);
    if (state !== 'running') return;
    if (performance.now() - start > limitMs)
      throw new RunError(`the capture was not sent within ${Math.round(limitMs / 1000)} s`);
    progress.live(`sending, ${((performance.now() - start) / 1000).toFixed(1)} of ${all} s`);
    await sleep(LOOK_MS, null, { signal: bed.signal });
  }
}
