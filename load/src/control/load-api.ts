/** How load is made: what the services' pages for it take and tell. The only place that knows the forms of the nic's /load, /sink,
 *  /streams, /requests, /faults and /edge, and of a sender's /send (services/nic/README.md). */
import { Rng, WEB_PORT, type CableFaults } from '@grantline/base';
import { IMIX_WEIGHTS } from '@grantline/frames';
import { RunError } from '../base/errors.js';
import type { ServiceClient } from './client.js';

const post = <T>(service: ServiceClient, path: string, body: unknown): Promise<T> =>
  service.call(path, { method: 'POST', body });
const end = <T>(service: ServiceClient, path: string): Promise<T> => service.call(path, { method: 'DELETE' });

export type Protocol = 'auto' | 'tcp' | 'udp';

interface Link {
  /** null: unlimited. */
  linkGbps: number | null;
  /** 802.3x flow control. */
  pause: boolean;
}

export interface GeneratorLoad extends Link {
  kind: 'generate';
  run: string;
  seed: number;
  guests: { domid: number; mac: string; ip: string }[];
  frameBytes: number | 'imix';
  protocol: Protocol;
  flowsPerGuest: number;
}

/** Of the capture that was loaded before. */
interface ReplayLoad extends Link {
  kind: 'replay';
  run: string;
  /** A number is a factor: 2 is twice as fast as recorded. */
  pace: 'recorded' | 'max' | number;
  loops: number;
}

export type Load = GeneratorLoad | ReplayLoad;

interface LoadStatus {
  state: 'idle' | 'running' | 'done';
  /** Frames that the NIC took or dropped, and frames that wait for a buffer. */
  sentFrames: number;
  heldFrames: number;
}

export const startLoad = (nic: ServiceClient, load: Load): Promise<LoadStatus> => post(nic, '/load', load);
export const stopLoad = (nic: ServiceClient): Promise<LoadStatus> => end(nic, '/load');
export const loadStatus = (nic: ServiceClient): Promise<LoadStatus> => nic.call('/load');

/** Gives the nic a capture, as a file's bytes: it may live in another container. */
export const loadCapture = (nic: ServiceClient, file: Uint8Array<ArrayBuffer>): Promise<unknown> =>
  nic.call('/load/capture', { method: 'POST', bytes: file, timeoutMs: 60_000 });

/** Where a guest is reached by TCP from the host: a door of the edge, in the nic. */
export interface EdgeDoor {
  domid: number;
  ip: string;
  /** The guest's. */
  port: number;
  /** host:port; null while it does not listen. */
  address: string | null;
  connections: number;
}

/** All doors; the web application's have port 80. None where no TCP/IP stack stands at the far end. */
export const edgeDoors = (nic: ServiceClient): Promise<EdgeDoor[]> => nic.call('/edge');

/** The web doors of all guests, as addresses that are good from here; null: it does not listen. */
export async function webDoors(nic: ServiceClient): Promise<(EdgeDoor & { url: string | null })[]> {
  const doors = (await edgeDoors(nic)).filter((door) => door.port === WEB_PORT);
  return doors.map((door) => ({ ...door, url: door.address === null ? null : urlOf(door.address, nic.http) }));
}

/** "Any address" is none that could be connected to: it is then the NIC's own. */
export function urlOf(address: string, nicHttp: string): string {
  const url = new URL(`http://${address}`);
  if (url.hostname === '0.0.0.0' || url.hostname === '[::]') url.hostname = new URL(nicHttp).hostname;
  return url.origin;
}

/** TCP streams between the outer stack and guests, as the guests see the direction. */
export const startStreams = (
  nic: ServiceClient,
  body: { ips: string[]; direction: 'rx' | 'tx'; streams: number; linkGbps: number | null },
): Promise<unknown> => post(nic, '/streams', body);
export const stopStreams = (nic: ServiceClient): Promise<unknown> => end(nic, '/streams');

/** Faults on the cable from the next frame on; null: none. */
export const setFaults = (nic: ServiceClient, faults: CableFaults | null): Promise<unknown> =>
  nic.call('/faults', { method: 'PUT', body: faults ?? { in: null, out: null } });

/** The faults that are set now. */
export const currentFaults = async (nic: ServiceClient): Promise<CableFaults> =>
  (await nic.call<{ settings: CableFaults }>('/faults')).settings;

/** The station at the far end, as in what the generator sends. */
export const FAR_STATION = { mac: '02:00:00:ca:b1:e0', ip: '10.255.255.254' } as const;

/** Makes the far end of the cable ready for what guests send. */
export const startSink = (
  nic: ServiceClient,
  body: { seed: number; frameSizes: readonly number[]; linkGbps: number | null },
): Promise<unknown> => post(nic, '/sink', body);

/** @throws RunError when one of them cannot send */
export async function startSending(senders: readonly ServiceClient[]): Promise<void> {
  for (const s of senders)
    if (!(await post<{ sending: boolean }>(s, '/send', {})).sending) throw new RunError(`${s.name} does not send`);
}

export async function stopSending(senders: readonly ServiceClient[]): Promise<void> {
  await Promise.all(senders.map((s) => end(s, '/send')));
}

/** Indices of the sizes in the order of sending: one size, or the IMIX set by its weights, shuffled by the seed. */
export function sendOrder(sizes: readonly number[], seed: number): number[] {
  if (sizes.length === 1) return [0];
  const order = sizes.flatMap((_, i) => Array.from({ length: IMIX_WEIGHTS[i] ?? 1 }, () => i));
  const rng = new Rng(seed);
  for (let i = order.length - 1; i > 0; i--) {
    const j = rng.below(i + 1);
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}

/** What a run of requests and their answers adds to its plan. */
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

interface RequestCounts {
  requests: number;
  answered: number;
  timeouts: number;
  late: number;
  repeated: number;
}

interface RequestStatus extends RequestCounts {
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
interface RoundTripUs {
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
export interface RequestRecord extends RequestPlan, RequestCounts {
  /** Out when all had come to rest: lost. */
  unanswered: number;
  /** Answers per second while it was measured. */
  perSecondAnswered: number;
  rttUs: RoundTripUs | null;
}

/** Asks from now on. */
export function startRequests(
  nic: ServiceClient,
  start: { seed: number; guests: { mac: string; ip: string }[]; frameBytes: number; linkGbps: number | null },
  { inFlight, perSecond, timeoutMs }: RequestPlan,
): Promise<RequestStatus> {
  return post(nic, '/requests', { ...start, inFlight, perSecond, timeoutMs });
}
/** Times count from now on. */
export const measureRequests = (nic: ServiceClient): Promise<RequestStatus> => post(nic, '/requests/measure', {});
export const requestStatus = (nic: ServiceClient): Promise<RequestStatus> => nic.call('/requests');
export const stopRequests = (nic: ServiceClient): Promise<RequestStatus> => end(nic, '/requests');

/** The second status is asked for at the end of the measured part, the third when nothing moves any more.
 *  @param seconds that were measured */
export function requestRecord(
  plan: RequestPlan,
  { rtt }: RequestStatus,
  { requests, answered, timeouts, late, repeated, inFlight }: RequestStatus,
  seconds: number,
): RequestRecord {
  return {
    ...plan,
    ...{ requests, answered, timeouts, late, repeated, unanswered: inFlight },
    perSecondAnswered: (rtt?.count ?? 0) / seconds,
    rttUs: rtt === null ? null : roundTrip(rtt),
  };
}

function roundTrip({ count, meanUs, minUs, maxUs, percentiles }: NonNullable<RequestStatus['rtt']>): RoundTripUs {
  const at = (percent: number): number => percentiles.find((p) => p.percent === percent)?.us ?? maxUs;
  return {
    ...{ count, mean: meanUs, min: minUs, p50: at(50), p90: at(90), p99: at(99), p999: at(99.9), p9999: at(99.99) },
    max: maxUs,
    percentiles: percentiles.map((p) => [p.percent, p.us]),
  };
}
