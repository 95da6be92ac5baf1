/** A run of requests and their answers: what the nic is told, and what it measured. The only place that knows the form of
 *  /requests. services/nic/README.md. */
import type { ServiceClient } from '../control/client.js';

/** What a run of requests adds to its plan. */
export interface RequestPlan {
  inFlight: number;
  /** Whether generated frames take the same way meanwhile. */
  beside: 'idle' | 'bulk';
  /** Open loop: requests per second; null: closed loop. */
  perSecond: number | null;
  timeoutMs: number;
}

/** Longest that a request waits for its answer before it is given up, milliseconds. */
export const REQUEST_TIMEOUT_MS = 200;
/** Shortest frame: a stamp and nothing else. */
export const REQUEST_BYTES = 60;

interface Status {
  requests: number;
  answered: number;
  timeouts: number;
  late: number;
  repeated: number;
  inFlight: number;
  rtt: null | {
    count: number;
    meanUs: number;
    minUs: number;
    maxUs: number;
    percentiles: { percent: number; us: number }[];
  };
}

/** Round trips in microseconds, HDR with three figures. */
export interface RoundTripUs {
  count: number;
  mean: number;
  min: number;
  p50: number;
  p90: number;
  p99: number;
  p999: number;
  p9999: number;
  max: number;
  /** More of the distribution: percent and microseconds. */
  percentiles: [number, number][];
}

/** What a record of such a run has on top. Counts are of the whole run, times of the measured part. */
export interface RequestRecord extends RequestPlan {
  requests: number;
  answered: number;
  timeouts: number;
  late: number;
  repeated: number;
  /** Out when all had come to rest: lost. */
  unanswered: number;
  /** Answers per second while it was measured. */
  perSecondAnswered: number;
  rttUs: RoundTripUs | null;
}

const to = <T>(nic: ServiceClient, path: string, method: 'GET' | 'POST' | 'DELETE', body?: unknown): Promise<T> =>
  nic.call<T>(path, body === undefined ? { method } : { method, body });

export interface RequestStart {
  seed: number;
  guests: { mac: string; ip: string }[];
  frameBytes: number;
  linkGbps: number | null;
}

/** Asks from now on. */
export function startRequests(nic: ServiceClient, start: RequestStart, plan: RequestPlan): Promise<Status> {
  const { inFlight, perSecond, timeoutMs } = plan;
  return to(nic, '/requests', 'POST', { ...start, inFlight, perSecond, timeoutMs });
}
/** Times count from now on. */
export const measureRequests = (nic: ServiceClient): Promise<Status> => to(nic, '/requests/measure', 'POST', {});
export const requestStatus = (nic: ServiceClient): Promise<Status> => to(nic, '/requests', 'GET');
export const stopRequests = (nic: ServiceClient): Promise<Status> => to(nic, '/requests', 'DELETE');

/** @param measured asked at the end of the measured part @param rest when nothing moved any more
 *  @param seconds that were measured */
export function requestRecord(plan: RequestPlan, measured: Status, rest: Status, seconds: number): RequestRecord {
  const { requests, answered, timeouts, late, repeated, inFlight } = rest;
  const { rtt } = measured;
  return {
    ...plan,
    ...{ requests, answered, timeouts, late, repeated, unanswered: inFlight },
    perSecondAnswered: (rtt?.count ?? 0) / seconds,
    rttUs: rtt === null ? null : roundTrip(rtt),
  };
}

function roundTrip(rtt: NonNullable<Status['rtt']>): RoundTripUs {
  const at = (percent: number): number => rtt.percentiles.find((p) => p.percent === percent)?.us ?? rtt.maxUs;
  return {
    count: rtt.count,
    mean: rtt.meanUs,
    min: rtt.minUs,
    p50: at(50),
    p90: at(90),
    p99: at(99),
    p999: at(99.9),
    p9999: at(99.99),
    max: rtt.maxUs,
    percentiles: rtt.percentiles.map((p) => [p.percent, p.us]),
  };
}
