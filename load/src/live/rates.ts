/** From two looks at the counters to what the live page shows. Pure.
 *
 *  Counters are emptied at the start of a run. A block that shrank was emptied in between: what it holds has then grown
 *  from zero, over less time than the looks are apart, so rates of that moment are not shown as throughput. */
import type { DirectionName, Flow, Figures, GuestRates, PathRates, PhaseName, Sample } from '../../page/messages.js';
import {
  inDriverDomain,
  inGuests,
  inNic,
  sum,
  blocksOf,
  everywhere,
  inHypervisor,
  type BlockKind,
  type Snapshot,
  type Where,
  type ServiceSnapshot,
} from '../control/snapshot.js';
import { dropsOf } from '../runner/conservation.js';
import { GROUPS, RINGING } from '../runner/per-frame.js';
import { latencyOf } from '../runner/figures.js';

/** What grows by a frame, or a segment, and by its bytes. */
interface Count {
  kind: BlockKind;
  frames: string;
  bytes: string;
}

interface Way {
  /** From the guests to the far end of the cable. */
  out: boolean;
  /** What is offered; null: as much as the cable carries. */
  offered: Count | null;
  /** What applications took, and where they are. */
  delivered: Count;
  takers: 'far' | 'guests';
  /** What each guest took or gave. */
  ofGuest: Count;
}

const APP: Count = { kind: 'app', frames: 'frames', bytes: 'bytes' };
const SENDER: Count = { kind: 'sender', frames: 'frames', bytes: 'bytes' };
const IN: Count = { kind: 'net', frames: 'tcpIn', bytes: 'tcpInBytes' };
const OUT: Count = { kind: 'net', frames: 'tcpOut', bytes: 'tcpOutBytes' };

/** Which counters tell what the live page shows, by what is measured: frames go to the guests or come from them, and
 *  streams, requests and web traffic end in other places than generated frames. */
const WAYS: Readonly<Record<DirectionName, Way>> = {
  rx: { out: false, offered: null, delivered: APP, takers: 'guests', ofGuest: APP },
  tx: { out: true, offered: SENDER, delivered: APP, takers: 'far', ofGuest: SENDER },
  'guest-to-guest': { out: false, offered: SENDER, delivered: APP, takers: 'guests', ofGuest: APP },
  // Half of what moves: the answers.
  rr: {
    ...{ out: true, offered: null, delivered: APP, takers: 'far' },
    ofGuest: { kind: 'responder', frames: 'responses', bytes: 'responseBytes' },
  },
  'tcp-rx': { out: false, offered: null, delivered: IN, takers: 'guests', ofGuest: IN },
  'tcp-tx': { out: true, offered: null, delivered: IN, takers: 'far', ofGuest: OUT },
  http: { out: true, offered: null, delivered: IN, takers: 'far', ofGuest: OUT },
};

/** Where the applications are that take. @param native the driver domain stands for the guests */
const takersOf = (way: Way, native: boolean): Where =>
  way.takers === 'far' ? inNic : native ? inDriverDomain : inGuests;

/** Traffic that nobody announced: the web, when only TCP/IP stacks take what comes. */
export function unannounced(grown: Snapshot): DirectionName {
  return sum(grown, 'app', 'frames') === 0 && sum(grown, 'net', 'tcpIn', inGuests) > 0 ? 'http' : 'rx';
}

/** So many frames and bytes, per second. */
const flow = (frames: number, bytes: number, seconds: number): Flow =>
  seconds > 0 ? { fps: frames / seconds, gbps: (bytes * 8) / 1e9 / seconds } : { fps: 0, gbps: 0 };

function flowOf(grown: Snapshot, seconds: number, counts: readonly Count[], where?: Where): Flow {
  const all = (of: 'frames' | 'bytes'): number => counts.reduce((n, c) => n + sum(grown, c.kind, c[of], where), 0);
  return flow(all('frames'), all('bytes'), seconds);
}

/** The cable, one way: what the far end sends, or what comes out. */
const CABLE_IN: readonly Count[] = [
  { kind: 'cable', frames: 'sentFrames', bytes: 'sentBytes' },
  { kind: 'cable', frames: 'stationFrames', bytes: 'stationBytes' },
];
const CABLE_OUT: readonly Count[] = [{ kind: 'egress', frames: 'frames', bytes: 'bytes' }];
/** Rings between netback and netfront, the same. */
const RINGS_IN: Count = { kind: 'netback', frames: 'outFrames', bytes: 'outBytes' };
const RINGS_OUT: Count = { kind: 'netbackTx', frames: 'packets', bytes: 'bytes' };

/** What the counters do not tell. */
interface Circumstances {
  /** Epoch milliseconds. */
  nowMs: number;
  config: string;
  /** The application sits in the driver domain. */
  native: boolean;
  phase: PhaseName;
  direction: DirectionName;
}

export interface Growth {
  /** How much each counter grew; a snapshot of differences. */
  grown: Snapshot;
  seconds: number;
  /** Counters were emptied in between. */
  reset: boolean;
}

/** What has grown from `before` to `after`. Services that are not in both are left out. */
export function growth(before: Snapshot, after: Snapshot): Growth {
  const grown: ServiceSnapshot[] = [];
  let reset = false;
  let seconds = 0;
  for (const now of after) {
    const then = before.find((s) => s.name === now.name);
    if (!then) continue;
    seconds = Math.max(seconds, (now.atNs - then.atNs) / 1e9);
    const blocks = now.blocks.map((block) => {
      const old = then.blocks.find((b) => b.kind === block.kind && sameLabels(b.labels, block.labels));
      const shrank =
        old !== undefined && Object.entries(block.values).some(([k, v]) => !isLevel(k) && v < old.values[k]);
      reset ||= shrank;
      const from = shrank ? {} : (old?.values ?? {});
      const values: Figures = {};
      for (const [k, v] of Object.entries(block.values)) values[k] = isLevel(k) ? v : v - (from[k] ?? 0);
      return { kind: block.kind, labels: block.labels, values };
    });
    grown.push({ ...now, blocks });
  }
  return { grown, seconds, reset };
}

/** Values that go up and down, or cannot be taken apart. */
const isLevel = (name: string): boolean => name === 'poolGrants' || name === 'maxNs';

function sameLabels(a: Readonly<Record<string, string>>, b: Readonly<Record<string, string>>): boolean {
  const keys = Object.keys(a);
  return keys.length === Object.keys(b).length && keys.every((k) => a[k] === b[k]);
}

/** The figures of one moment. @param now the later of the two looks, for totals */
export function sampleOf(g: Growth, now: Snapshot, at: Circumstances): Sample {
  const { direction } = at;
  const way = WAYS[direction];
  const receivers = takersOf(way, at.native);
  const path = pathRates(g, now, way, receivers);
  const grownFrames = sum(g.grown, way.delivered.kind, way.delivered.frames, receivers);
  const offered = way.offered === null ? path.cable : flowOf(g.grown, g.seconds, [way.offered]);
  const latency = latencyOf([], g.grown, receivers);
  return {
    point: {
      t: at.nowMs,
      c: at.config,
      ...(direction === 'rx' ? {} : { d: direction }),
      p: at.phase,
      g: g.reset || g.seconds === 0 ? null : path.delivered.gbps,
      o: g.reset || g.seconds === 0 ? null : offered.gbps,
    },
    path,
    receivers: receiverRates(g, now, way, at.native ? inDriverDomain : inGuests),
    cpuNsPerFrame: grownFrames > 0 ? cpuPerFrame(g.grown, grownFrames) : null,
    latencyUs: latency && { p50: latency.p50, p99: latency.p99 },
  };
}

function pathRates({ grown, seconds }: Growth, now: Snapshot, way: Way, receivers: Where): PathRates {
  const per = (n: number): number => (seconds > 0 ? n / seconds : 0);
  const calls = (name: string): number => sum(grown, 'hypercalls', name, inHypervisor);
  const notifications = RINGING.reduce((n, kind) => n + sum(grown, kind, 'notifications'), 0);
  return {
    out: way.out,
    cable: flowOf(grown, seconds, way.out ? CABLE_OUT : CABLE_IN, inNic),
    paused: Math.min(1, per(sum(grown, 'cable', 'pausedNs', inNic)) / 1e9),
    defaultQueue: queueFlow(grown, seconds, way, true),
    guestQueues: queueFlow(grown, seconds, way, false),
    rings: flowOf(grown, seconds, [way.out ? RINGS_OUT : RINGS_IN], inDriverDomain),
    delivered: flowOf(grown, seconds, [way.delivered], receivers),
    hypercalls: per(calls('calls')),
    grantOps: per(calls('mapOps') + calls('unmapOps') + calls('copyOps') + calls('dmaMapOps') + calls('dmaUnmapOps')),
    copies: per(
      calls('copyOps') + sum(grown, 'netback', 'localCopies', inDriverDomain) + sum(grown, 'app', 'copies', receivers),
    ),
    notifications: per(notifications),
    wakeups: per(sum(grown, 'loop', 'wakeups', (s) => s.kind !== 'nic')),
    dropRates: Object.fromEntries(Object.entries(dropsOf(grown)).map(([k, n]) => [k, per(n)])),
    drops: dropsOf(now),
  };
}

function queueFlow(grown: Snapshot, seconds: number, way: Way, isDefault: boolean): Flow {
  const blocks = blocksOf(grown, way.out ? 'nicTx' : 'nicQueue', inNic);
  const own = blocks.filter((b) => (b.labels['queue'] === 'default') === isDefault);
  const all = (name: string): number => own.reduce((n, b) => n + (b.values[name] ?? 0), 0);
  return flow(all('frames'), all('bytes'), seconds);
}

/** What each guest takes, or gives where frames go out. */
function receiverRates({ grown, seconds }: Growth, now: Snapshot, way: Way, receivers: Where): GuestRates[] {
  const { kind, frames: counter } = way.ofGuest;
  const total = sum(grown, kind, counter, receivers);
  return grown
    .filter((s) => receivers(s))
    .map((s) => {
      const frames = sum([s], kind, counter);
      const own = flowOf([s], seconds, [way.ofGuest]);
      const cpuNs = Object.entries(componentsOf(s)).reduce((n, [name, ns]) => (name === 'idle' ? n : n + ns), 0);
      return {
        ...{ domid: s.domid, name: s.name, fps: own.fps, gbps: own.gbps },
        share: total > 0 ? frames / total : 0,
        cpu: seconds > 0 ? cpuNs / 1e9 / seconds : 0,
        drops: dropsFor(now, s),
      };
    });
}

/** Drops that a guest suffered: its own, and those that NIC and netback counted for its vif. */
function dropsFor(now: Snapshot, guest: ServiceSnapshot): Figures {
  if (guest.kind !== 'guest') return dropsOf(now.filter((s) => s.name === guest.name));
  const vif = `vif${guest.domid}.0`;
  const ownBlocks = now.map((s) =>
    s.name === guest.name
      ? s
      : { ...s, blocks: s.blocks.filter((b) => b.labels['vif'] === vif || b.labels['queue'] === vif) },
  );
  return dropsOf(ownBlocks);
}

function componentsOf(s: ServiceSnapshot): Figures {
  const out: Figures = {};
  for (const b of blocksOf([s], 'cpu', everywhere))
    for (const [name, ns] of Object.entries(b.values)) out[name] = (out[name] ?? 0) + ns;
  return out;
}

function cpuPerFrame(grown: Snapshot, frames: number): Figures {
  const out: Figures = {};
  for (const s of grown) {
    for (const [name, ns] of Object.entries(componentsOf(s))) {
      const key = `${GROUPS[s.kind]}.${name}`;
      out[key] = (out[key] ?? 0) + ns / frames;
    }
  }
  return out;
}
