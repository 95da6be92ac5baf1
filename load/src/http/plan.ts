/** What a load by HTTP is, what is found out by it, and what generator and command say to each other. */

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
export type LoadMode = 'closed' | 'open';

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
