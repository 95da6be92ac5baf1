/** What a domain asks of its hypervisor, whichever way it reaches it. The service's HypervisorClient is one;
 *  a test's hypervisor in memory is another. docs/wire/control-plane.md section 3, docs/wire/hypercall.md. */
import type { DomId } from '@grantline/base';

/** What domains share: each has descriptors of its own and of its peers' that it is to have.
 *  `memory`: a domain's pages. `counters`, `doorbell` (to be read): its own. `hypercalls`: the page of its hypercall ring, and
 *  `hypervisor`: the bell that says there is something in it. `page`, `ringer`: the event channels' page of the
 *  caller and a domain, and that one's doorbell to be rung. `dma-table`, `dma-burst`, `fence`: the nic's. */
export const SHARED_KINDS = [
  'memory',
  'counters',
  'doorbell',
  'hypercalls',
  'hypervisor',
  'page',
  'ringer',
  'dma-table',
  'dma-burst',
  'fence',
] as const;
export type SharedKind = (typeof SHARED_KINDS)[number];

/** In GRANTLINE_DIR: where descriptors are handed out for tickets. */
export const SHARED_SOCKET = 'shared.sock';

/** A batch of grant operations as a port sees it. From the call to `answer` it belongs to the port, which reads `words` and
 *  writes `results`. */
export interface Call {
  readonly cmd: number;
  readonly count: number;
  /** A message: HYPERCALL_HEADER_BYTES for those who send it as one, then the elements. */
  readonly words: Uint32Array;
  /** Results one behind the other, each of resultBytes(cmd). */
  readonly results: Uint32Array;
  /** True: control code goes on after the answer, once promises have their turn. */
  readonly awaited?: boolean;
  /** The results are there. @param rc of the whole call: 0, or a negative errno, and no element was looked at */
  answer(rc: number): void;
}

/** The part that batches need. */
export interface HypercallPort {
  /** Sends a call. Answers come in the order of the calls. After the connection has closed no answer comes. */
  hypercall(call: Call): void;
}

export interface HypervisorPort extends HypercallPort {
  /** The caller's own. */
  readonly domid: DomId;
  /** Asks the hypervisor for something. @throws HypervisorError with the code of the refusal, or ECLOSED */
  request<T = Record<string, never>>(op: string, args: object): Promise<T>;
  /** Gets what this domain shares with others. @param domid whose, or with whom; else this domain
   *  @returns a descriptor, to be closed by the caller
   *  @throws HypervisorError when this domain has no right to it; Error with a code when nobody hands out descriptors there */
  descriptor(of: SharedKind, domid?: DomId): Promise<number>;
  /** Calls `fn` at each event of that name. Events that came before anybody asked are delivered now, in order. */
  onEvent<A = Record<string, unknown>>(name: string, fn: (args: A) => void): void;
}

// What goes over its socket as JSON.

/** Code and text of a refused request; `code` is an errno name or a word of the hypervisor's. */
export interface WireError {
  code: string;
  message: string;
}

interface WireReply {
  id: number;
  result?: unknown;
  error?: WireError;
}

export interface WireEvent {
  event: string;
  args: unknown;
}

/** A request that the hypervisor refused, or that its closed socket swallowed (code ECLOSED). */
export class HypervisorError extends Error {
  override readonly name = 'HypervisorError';
  readonly code: string;
  constructor(error: WireError, op: string) {
    super(`${op}: ${error.message} (${error.code})`);
    this.code = error.code;
  }
}

/** Refused for now, and nobody's fault: the same request may succeed soon. */
export class NotNow extends Error {
  override readonly name = 'NotNow';
}

const isObject = (v: unknown): v is Record<string, unknown> => typeof v === 'object' && v !== null && !Array.isArray(v);

/** Reads a text message. @returns null when it is neither a reply nor an event */
export function parseWire(text: string): WireReply | WireEvent | null {
  let v: unknown;
  try {
    v = JSON.parse(text);
  } catch {
    return null;
  }
  if (!isObject(v)) return null;
  if (typeof v.event === 'string') return { event: v.event, args: v.args ?? {} };
  if (typeof v.id !== 'number') return null;
  if (v.error === undefined) return { id: v.id, result: v.result };
  if (!isObject(v.error)) return null;
  return { id: v.id, error: { code: String(v.error.code), message: String(v.error.message) } };
}
