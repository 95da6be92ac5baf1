/** What a load by HTTP is, what is found out by it, what generator and command say to each other, and the file of all runs. */
import type { Factors } from '@grantline/base';
import { MAX_MESSAGE_BYTES, MAX_STREAM_CHUNK } from '@grantline/measure';
import type { HostInfo } from '../testbed/host.js';
import type { PlacementRecord } from '../testbed/placement.js';
import type { CpuNsPerFrame } from '../runner/record.js';
import { UserError } from '../base/errors.js';

/** What is asked for. `bytes` are those of one body. */
export type Scenario =
  | { kind: 'json'; name: string }
  | { kind: 'bytes'; name: string; bytes: number }
  | { kind: 'upload'; name: string; bytes: number }
  | { kind: 'chunked'; name: string; bytes: number; chunk: number }
  | { kind: 'ws'; name: string; bytes: number };

/** Closed: each connection sends its next request once it has its answer, and so finds the capacity; a server that
 *  stalls is asked less. Open: requests come by a schedule, whatever the server does, and the time that one waits for
 *  its turn counts: coordinated omission is corrected by never happening. The two are different questions. */
type LoadMode = 'closed' | 'open';

export interface LoadPlan {
  /** http://host:port of the servers, without a slash at the end; connections are spread evenly. */
  urls: readonly string[];
  scenario: Scenario;
  connections: number;
  /** Requests or messages per second over all connections: open loop. null: closed loop. */
  rate: number | null;
  /** Seconds before measuring starts. */
  warmup: number;
  seconds: number;
}

/** Microseconds. */
export interface HttpLatency {
  p50: number;
  p90: number;
  p99: number;
  p999: number;
  max: number;
  mean: number;
  count: number;
  /** The whole histogram, HdrHistogram V2 compressed, base64; microseconds. */
  hdr: string;
}

export interface LoadErrors {
  /** Connections that could not be made or broke. */
  connection: number;
  /** Requests without an answer in time. */
  timeout: number;
  /** Answers with another status than 200. */
  status: number;
  /** Answers whose body or id is not the one that belongs to the request. */
  wrong: number;
  /** Requests whose connection broke, and those without an answer long after the load had stopped. */
  unanswered: number;
}

/** What the generator found out. Counts are of the measured time; errors and totals are of the whole run. */
export interface Generated {
  mode: LoadMode;
  seconds: number;
  answered: number;
  /** Bytes of bodies, without headers and chunk sizes. */
  bodyBytes: number;
  /** Closed: from sending to the whole answer. Open: from the moment at which the schedule wanted it sent. */
  latencyUs: HttpLatency | null;
  /** Open loop: requests that were due in the measured time and had found no connection when it ended. Their latency
   *  counts as far as they had waited, which is less than it would have been. */
  waiting: number;
  /** Open loop only: from sending, as a generator that omits would tell it. */
  serviceUs: HttpLatency | null;
  total: { sent: number; answered: number };
  errors: LoadErrors;
  generator: {
    /** CPU time of the process over elapsed time: 1 is a full core. */
    cpuShare: number;
    /** Open loop: share of requests that a free connection waited for the generator longer than its timer's grain. */
    lateShare: number;
  };
}

/** The measured time begins, or has ended. */
export type PhaseTold = 'begin' | 'end';

/** From the generator's process. */
export type GeneratorSays = { phase: PhaseTold } | { result: Generated } | { failed: string };

export const errorsOf = (e: LoadErrors): number => e.connection + e.timeout + e.status + e.wrong + e.unanswered;

export interface HttpRun {
  /** A configuration, or `loopback`. */
  target: string;
  factors: Factors | null;
  scenario: string;
  mode: LoadMode;
  /** Requests per second asked for; null: closed loop. */
  rate: number | null;
  round: number;
  connections: number;
  guests: number;
  requestsPerSecond: number;
  /** Of bodies. */
  gbps: number;
  generated: Generated;
  /** CPU time by service and component, nanoseconds for each request; as of a frame in comparisons. null: loopback. */
  cpuNsPerRequest: CpuNsPerFrame | null;
  /** CPU time of all that serves, nanoseconds for each request. */
  serverNsPerRequest: number;
  /** CPU time over elapsed time by process. */
  cpuShare: Record<string, number>;
  /** Of the machine's cores. */
  idleShare: number;
  stealShare: number;
  /** Why the figures are void; null: they are not. */
  refused: string | null;
  notes: string[];
}

/** The median run of a target in a scenario. */
export interface HttpSummary extends HttpRun {
  runs: number;
  spread: { requestsPerSecond: { min: number; max: number } };
  /** Requests per second over those on loopback, by medians; null where there is no sound loopback run. */
  ratio: number | null;
}

export interface HttpSettings {
  scenarios: Scenario[];
  /** Open-loop rates; empty: none. */
  rates: number[];
  /** Closed-loop runs were made. */
  capacity: boolean;
  connections: number;
  guests: number;
  seconds: number;
  warmup: number;
  repeat: number;
}

export interface HttpFile {
  schema: 'grantline.http/1';
  date: string;
  commandLine: string[];
  host: HostInfo;
  settings: HttpSettings;
  /** Not given: the testbed was on another machine, or in containers. */
  placement?: PlacementRecord;
  /** Closed loop: what can be served. */
  capacity: HttpSummary[];
  /** Open loop: latency at a rate. */
  atRate: HttpSummary[];
  /** All runs, in their order. */
  runs: HttpRun[];
}

/** The generator keeps a body for each connection. */
const MAX_BYTES = 64 << 20;
const MIN_MESSAGE_BYTES = 32;
const FORMS = 'json, bytes:1M, upload:1M, chunked, chunked:1M/16K, ws or ws:128';

/** Scenarios as they are typed, with commas: json, bytes:1M, upload:1M, chunked:1M/16K, ws:128. @throws UserError */
export function parseScenarios(text: string): Scenario[] {
  const all = text.split(',').map((part) => parseScenario(part.trim()));
  const twice = all.find((s, i) => all.findIndex((o) => o.name === s.name) !== i);
  if (twice) throw new UserError(`scenario "${twice.name}" is named twice`, 'name each once');
  return all;
}

function parseScenario(name: string): Scenario {
  const m = /^(json|bytes|upload|chunked|ws)(?::([^/]+))?(?:\/(.+))?$/.exec(name);
  if (!m) throw new UserError(`unknown scenario "${name}"`, `known are ${FORMS}`);
  const [, kind, size, chunk] = m;
  if ((kind === 'json' && size !== undefined) || (kind !== 'chunked' && chunk !== undefined))
    throw new UserError(`unknown scenario "${name}"`, `known are ${FORMS}`);
  switch (kind) {
    case 'bytes':
    case 'upload':
      return { kind, name, bytes: bytesIn(name, size ?? '1M', 1, MAX_BYTES) };
    case 'chunked':
      return {
        ...{ kind, name, bytes: bytesIn(name, size ?? '1M', 1, MAX_BYTES) },
        chunk: bytesIn(name, chunk ?? '16K', 1, MAX_STREAM_CHUNK),
      };
    case 'ws':
      return { kind, name, bytes: bytesIn(name, size ?? '128', MIN_MESSAGE_BYTES, MAX_MESSAGE_BYTES) };
    default:
      return { kind: 'json', name };
  }
}

function bytesIn(name: string, text: string, low: number, high: number): number {
  const m = /^(\d{1,9})([KM]?)$/i.exec(text);
  const unit = m?.[2].toUpperCase() === 'M' ? 1 << 20 : m?.[2].toUpperCase() === 'K' ? 1 << 10 : 1;
  const n = m ? Number(m[1]) * unit : NaN;
  if (!(n >= low && n <= high))
    throw new UserError(
      `the size in scenario "${name}" is out of range`,
      `give ${low} to ${high} bytes, with K or M where wanted`,
    );
  return n;
}
