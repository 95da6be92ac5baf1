/** From three snapshots of all counters to the figures of a run. Pure.
 *
 *  A: measuring starts (load has been running for the warm-up). B: measuring ends. C: the load has stopped and all has
 *  come to rest. Rates and costs come from A to B, each service by its own clock; what was lost comes from C, for the
 *  counters were reset before the load started. */
import { latencyPercentiles, mergeLatency } from '@grantline/machine';
import type { Factors } from '@grantline/base';
import type { Direction, Result } from './record.js';
import {
  blocksOf,
  cpuShares,
  grew,
  inDriverDomain,
  inGuests,
  inNic,
  pairs,
  rate,
  secondsBetween,
  sum,
  type Snapshot,
  type Where,
  type BlockKind,
} from '../control/snapshot.js';
import { percent } from '../base/format.js';
import { lineRate } from '../base/stats.js';
import { checkConservation, dropsOf, injected } from './conservation.js';
import { checkCpu, cpuPerFrame, perFrame } from './per-frame.js';

const FRACTIONS = [0.5, 0.9, 0.99, 0.999, 1];

/** Percentiles, over all receivers, of the time from sending a frame to the copy in the application's private memory, of what
 *  arrived between two snapshots; null when nothing did. */
export function latencyOf(a: Snapshot, b: Snapshot, receivers: Where): Result['latencyUs'] {
  const before = mergeLatency(blocksOf(a, 'latency', receivers).map((x) => x.values));
  const after = mergeLatency(blocksOf(b, 'latency', receivers).map((x) => x.values));
  const grown: Record<string, number> = {};
  // The maximum cannot be taken apart: it caps the last bucket, and may be the warm-up's within that bucket.
  for (const [name, value] of Object.entries(after))
    grown[name] = name === 'maxNs' ? value : value - (before[name] ?? 0);
  if (!(grown['count'] > 0)) return null;
  const [p50, p90, p99, p999, max] = latencyPercentiles(grown, FRACTIONS).map((ns) => ns / 1000);
  return { p50, p90, p99, p999, max };
}

/** What a run was to be, and how it could be made. */
interface Conditions {
  /** Share of all cores' time that the host gave to others. */
  stealShare: number;
  linkGbps: number | null;
  frameBytes: number;
  flowControl: boolean;
  direction: Direction;
}

export interface RunConditions extends Conditions {
  offeredFramesPerSecond: number;
  /** Share of the measured time that flow control held the sender. */
  pausedShare: number;
  /** CPU seconds per second of the NIC process, generator included. */
  nicCpuShare: number;
  wantedSeconds: number;
  measuredSeconds: number;
  corrupt: number;
  duplicate: number;
}

const STEAL_LIMIT = 0.02;
const PACE_TOLERANCE = 0.001;
const TIMING_TOLERANCE = 0.05;

/** What makes a run's figures doubtful: one sentence each. Runs are never dropped for it: the notes stand in the record and under
 *  the table. Source: the void rules of docs/measuring.md. */
export function voidRules(r: RunConditions): string[] {
  const notes: string[] = [];
  if (r.stealShare > STEAL_LIMIT)
    notes.push(`the machine was taken away for ${percent(r.stealShare)} of the time (steal)`);
  if (r.linkGbps !== null && r.direction === 'rx') {
    const wanted = lineRate(r.linkGbps, r.frameBytes);
    const share = r.offeredFramesPerSecond / wanted;
    if (share < 1 - PACE_TOLERANCE) {
      const held =
        r.pausedShare > PACE_TOLERANCE ? `; flow control held it for ${percent(r.pausedShare)} of the time` : '';
      notes.push(`the generator sent ${percent(share)} of the link's rate${held}`);
    }
  }
  if (r.direction === 'rr') {
    if (r.offeredFramesPerSecond === 0) notes.push('nothing was asked');
  } else if (r.direction === 'tx' || r.direction === 'guest-to-guest') {
    // The far end shares the NIC's core: full, it is what the guests wait for.
    if (r.offeredFramesPerSecond === 0) notes.push('the guests sent nothing');
    else if (r.direction === 'tx' && r.nicCpuShare > 0.97 && r.linkGbps === null)
      notes.push(
        'the far end of the cable was the bottleneck: the core of the NIC, which verifies each frame, was full',
      );
  } else if (r.offeredFramesPerSecond === 0) notes.push('the generator sent nothing');
  else if (r.nicCpuShare > 0.97 && r.pausedShare < 0.01 && r.linkGbps === null && r.flowControl) {
    notes.push('the generator was the bottleneck: its core was full and flow control did not hold it');
  }
  if (Math.abs(r.measuredSeconds / r.wantedSeconds - 1) > TIMING_TOLERANCE) {
    notes.push(`measured ${r.measuredSeconds.toFixed(2)} s instead of ${r.wantedSeconds} s`);
  }
  if (r.corrupt > 0) notes.push(`${r.corrupt} frames arrived corrupt`);
  if (r.duplicate > 0) notes.push(`${r.duplicate} frames arrived twice`);
  return notes;
}

export interface RunInput extends Conditions {
  config: string;
  factors: Factors;
  round: number;
  guests: number;
  seconds: number;
  /** TCP streams carry the load: frames are their segments, bytes their payload as applications take it. */
  tcp?: boolean;
  a: Snapshot;
  b: Snapshot;
  c: Snapshot;
}

/** The record of one run. */
export function figures(input: RunInput): Result {
  const { a, b, c, config, factors, direction, round, guests, frameBytes, linkGbps, flowControl, stealShare } = input;
  const rr = direction === 'rr';
  const tx = direction !== 'rx';
  const ends = factors.path === 'native' ? inDriverDomain : inGuests;
  const receivers = direction === 'tx' || rr ? inNic : ends;
  /** What sends: its kind of block, and where it stands. */
  const source = rr
    ? (['requester', 'requests', 'requests', inNic] as const)
    : tx
      ? (['sender', 'frames', 'bytes', ends] as const)
      : (['cable', 'sentFrames', 'sentBytes', inNic] as const);
  const tcp = input.tcp === true;
  const [frameKind, frameName] = tcp ? (['net', 'tcpIn'] as const) : (['app', 'frames'] as const);
  const [byteKind, byteName] = tcp ? (['tcpApp', 'receivedBytes'] as const) : (['app', 'bytes'] as const);
  const frames = grew(a, b, frameKind, frameName, receivers);
  const bytes = grew(a, b, byteKind, byteName, receivers);
  const framesPerSecond = rate(a, b, frameKind, frameName, receivers);
  const gbps = (rate(a, b, byteKind, byteName, receivers) * 8) / 1e9;
  // Streams offer as much as goes.
  const offered = tcp ? framesPerSecond : rate(a, b, source[0], source[1], source[3]);
  const cpu = checkCpu(a, b);
  const sent = tcp ? sum(c, frameKind, frameName, receivers) : sum(c, source[0], source[1], source[3]);
  const duplicate = rr ? sum(c, 'requester', 'repeated', inNic) : sum(c, 'app', 'duplicate', receivers);
  const corrupt = sum(c, 'app', 'corrupt', receivers);
  const foreign = sum(c, 'app', 'foreign', receivers);
  const received = rr
    ? sum(c, 'requester', 'answered', inNic)
    : tcp
      ? sent
      : sum(c, 'app', 'frames', receivers) - duplicate - corrupt - foreign;
  const faults = faultCounts(c);
  const seconds = measuredSeconds(a, b);
  const cpuShare = cpuShares(a, b);
  const pausedShare = seconds > 0 ? grew(a, b, 'cable', 'pausedNs', inNic) / (seconds * 1e9) : 0;
  const notes = voidRules({
    ...{ stealShare, linkGbps, frameBytes, flowControl, direction, pausedShare },
    offeredFramesPerSecond: offered,
    nicCpuShare: cpuShare['nic'] ?? 0,
    wantedSeconds: input.seconds,
    measuredSeconds: seconds,
    corrupt: faults === null ? corrupt : 0,
    duplicate: faults === null ? duplicate : 0,
  });
  return {
    ...{ config, direction },
    ...(tcp ? { tcp } : {}),
    ...{ factors, round, guests, frameBytes, seconds },
    offered: {
      framesPerSecond: offered,
      gbps: tcp ? gbps : (rate(a, b, source[0], source[2], source[3]) * (rr ? frameBytes : 1) * 8) / 1e9,
    },
    delivered: { frames, bytes, framesPerSecond, gbps },
    deliveredBy: byReceiver(a, b, receivers, frameKind, frameName),
    ...{ sent, received, lost: sent - received, duplicate },
    reordered: sum(c, 'app', 'reordered', receivers),
    corrupt,
    drops: dropsOf(c),
    conservation: checkConservation(c, factors.path, direction, tcp),
    cpuNsPerFrame: cpuPerFrame(a, b, frames),
    cpuShare,
    cpuAccounted: cpu.accounted,
    cpuAccountedOk: cpu.ok,
    perFrame: perFrame(a, b, frames, rr ? ends : tx ? null : receivers),
    latencyUs: latencyOf(a, b, receivers),
    rssBytes: Object.fromEntries(b.map((s) => [s.name, s.rssBytes])),
    ...{ stealShare, pausedShare },
    ...(faults === null ? {} : { faults }),
    notes: [...notes, ...(tcp ? tcpNotes(c) : []), ...cpu.notes],
  };
}

/** What a run of streams met. */
function tcpNotes(c: Snapshot): string[] {
  const again = sum(c, 'net', 'tcpRetransmits');
  return again === 0 ? [] : [`${again} TCP segments were sent again`];
}

const FAULT_NAMES = ['frames', 'lost', 'duplicated', 'corrupted', 'reordered', 'delayed', 'undone', 'full'] as const;

/** null: the injector was off. */
function faultCounts(c: Snapshot): Record<string, number> | null {
  const out: Record<string, number> = {};
  for (const way of ['in', 'out'] as const)
    for (const name of FAULT_NAMES) {
      const n = injected(c, way, name);
      if (n > 0) out[`${way}.${name}`] = n;
    }
  return Object.keys(out).length === 0 ? null : out;
}

/** Mean of the services' own intervals. */
function measuredSeconds(a: Snapshot, b: Snapshot): number {
  const all = pairs(a, b).map(({ before, after }) => secondsBetween(before, after));
  return all.length === 0 ? 0 : all.reduce((x, y) => x + y, 0) / all.length;
}

/** Frames a second by receiver, by the same counter as all of them together. */
function byReceiver(a: Snapshot, b: Snapshot, receivers: Where, kind: BlockKind, name: string): Record<string, number> {
  const out: Record<string, number> = {};
  for (const s of b) if (receivers(s)) out[s.name] = rate(a, b, kind, name, (x) => x.name === s.name);
  return out;
}
