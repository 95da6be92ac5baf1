/** From three snapshots of all counters to the figures of a run. Pure.
 *
 *  A: measuring starts (load has been running for the warm-up). B: measuring ends. C: the load has stopped and all has
 *  come to rest. Rates and costs come from A to B, each service by its own clock; what was lost comes from C, for the
 *  counters were reset before the load started. */
import type { Factors } from '@grantline/base';
import { checkConservation, dropsOf, type Direction } from './conservation.js';
import { checkCpu } from './cpu-check.js';
import { latencyOf } from './latency.js';
import { injected } from './faults.js';
import { cpuPerFrame, pairs, perFrame } from './per-frame.js';
import type { Result } from './record.js';
import {
  grew,
  inDriverDomain,
  inGuests,
  inNic,
  rate,
  secondsBetween,
  sum,
  type BlockKind,
  type Snapshot,
  type Where,
} from '../control/snapshot.js';
import { voidRules } from './void-rules.js';

export { cpuPerFrame } from './per-frame.js';

export interface RunInput {
  config: string;
  /** rx when not given. */
  direction?: Direction;
  factors: Factors;
  round: number;
  guests: number;
  frameBytes: number;
  seconds: number;
  linkGbps: number | null;
  flowControl: boolean;
  stealShare: number;
  /** TCP streams carry the load: frames are their segments, bytes their payload as applications take it. */
  tcp?: boolean;
  a: Snapshot;
  b: Snapshot;
  c: Snapshot;
}

/** The record of one run. */
export function figures(input: RunInput): Result {
  const { a, b, c, factors } = input;
  const direction = input.direction ?? 'rx';
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
  const faults = faultsOf(c);
  const seconds = measuredSeconds(a, b);
  const cpuShare: Record<string, number> = {};
  for (const { before, after } of pairs(a, b)) {
    cpuShare[after.name] = (after.processCpuNs - before.processCpuNs) / (after.atNs - before.atNs);
  }
  const pausedShare = seconds > 0 ? grew(a, b, 'cable', 'pausedNs', inNic) / (seconds * 1e9) : 0;
  const notes = voidRules({
    stealShare: input.stealShare,
    linkGbps: input.linkGbps,
    frameBytes: input.frameBytes,
    offeredFramesPerSecond: offered,
    pausedShare,
    flowControl: input.flowControl,
    direction,
    nicCpuShare: cpuShare['nic'] ?? 0,
    wantedSeconds: input.seconds,
    measuredSeconds: seconds,
    corrupt: faults === null ? corrupt : 0,
    duplicate: faults === null ? duplicate : 0,
  });
  return {
    config: input.config,
    direction,
    ...(tcp ? { tcp } : {}),
    factors,
    round: input.round,
    guests: input.guests,
    frameBytes: input.frameBytes,
    seconds,
    offered: {
      framesPerSecond: offered,
      gbps: tcp ? gbps : (rate(a, b, source[0], source[2], source[3]) * (rr ? input.frameBytes : 1) * 8) / 1e9,
    },
    delivered: { frames, bytes, framesPerSecond, gbps },
    deliveredBy: byReceiver(a, b, receivers, frameKind, frameName),
    sent,
    received,
    lost: sent - received,
    duplicate,
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
    stealShare: input.stealShare,
    pausedShare,
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
function faultsOf(c: Snapshot): Record<string, number> | null {
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
