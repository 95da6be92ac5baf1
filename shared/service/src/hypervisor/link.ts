/** The hypervisor socket with its queues: requests by id, hypercall replies in order, events by name. Apart from the
 *  client, so that messages can arrive before the client is complete. */
import type { RawData, WebSocket } from 'ws';
import {
  HYPERCALL_HEADER_BYTES,
  HypervisorError,
  answerByMessage,
  callMessage,
  parseWire,
  type Call,
  type WireEvent,
} from '@grantline/xen';
import { parseDomId, type DomId, UsageError } from '@grantline/base';
import type { ServiceKind } from '../env.js';
import type { Log } from '../log.js';

/** What the hypervisor says first of all. */
export interface Welcome {
  domid: DomId;
  kind: ServiceKind;
  memoryPages: number;
  /** Guests that there are. */
  guests: DomId[];
  /** Opens the service's own HTTP API: for the domain itself and the operator. */
  controlKey: string;
  /** To a domain that joined: whom to run as (uid null: as it was started), and on which core. */
  uid: number | null;
  gid: number | null;
  groups: number[];
  core: number | null;
  nativeCore: number | null;
}

interface Pending {
  op: string;
  resolve: (result: unknown) => void;
  reject: (err: Error) => void;
}

const CLOSE_LIMIT_MS = 500;
/** Events that came before anybody asked for them, at most. */
const BACKLOG_MAX = 1024;

export class Link {
  readonly welcome: Promise<Welcome>;
  closedWhy: string | null = null;
  private readonly log: Log;
  private ws: WebSocket | null = null;
  private onWelcome!: { resolve: (w: Welcome) => void; reject: (err: Error) => void };
  private nextId = 1;
  private readonly pending = new Map<number, Pending>();
  private readonly handlers = new Map<string, ((args: unknown) => void)[]>();
  private backlog: WireEvent[] = [];
  private readonly closers: ((reason: string) => void)[] = [];
  private seq = 0;
  /** Calls whose replies are due, oldest first. */
  private readonly calls: Call[] = [];

  constructor(log: Log) {
    this.log = log;
    this.welcome = new Promise((resolve, reject) => {
      this.onWelcome = { resolve, reject };
    });
    this.welcome.catch(() => {});
  }

  get inFlight(): number {
    return this.calls.length;
  }

  attach(ws: WebSocket): void {
    this.ws = ws;
    ws.on('message', (data: RawData, binary: boolean) => this.onMessage(data as Buffer, binary));
    ws.on('close', (code: number, reason: Buffer) => this.onClosed(`${code} ${reason.toString()}`.trim()));
    ws.on('error', (err: Error) => this.log.debug({ err: err.message }, 'hypervisor socket'));
  }

  request(op: string, args: object): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (this.closedWhy !== null || this.ws === null)
        return reject(new HypervisorError({ code: 'ECLOSED', message: 'the hypervisor is gone' }, op));
      const id = this.nextId++;
      this.pending.set(id, { op, resolve, reject });
      this.ws.send(JSON.stringify({ id, op, args }));
    });
  }

  hypercall(call: Call): void {
    if (this.closedWhy !== null || this.ws === null) return;
    this.seq = (this.seq + 1) >>> 0;
    this.calls.push(call);
    this.ws.send(callMessage(call, this.seq));
  }

  onEvent(name: string, fn: (args: unknown) => void): void {
    const list = this.handlers.get(name);
    if (list) list.push(fn);
    else this.handlers.set(name, [fn]);
    const kept = this.backlog.filter((e) => e.event === name);
    if (kept.length === 0) return;
    this.backlog = this.backlog.filter((e) => e.event !== name);
    for (const e of kept) this.call(fn, e);
  }

  onClose(fn: (reason: string) => void): void {
    if (this.closedWhy !== null) fn(this.closedWhy);
    else this.closers.push(fn);
  }

  close(): Promise<void> {
    const ws = this.ws;
    if (ws === null || this.closedWhy !== null) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = setTimeout(() => ws.terminate(), CLOSE_LIMIT_MS);
      this.onClose(() => {
        clearTimeout(timer);
        resolve();
      });
      ws.close(1000);
    });
  }

  private onMessage(data: Buffer, binary: boolean): void {
    if (this.closedWhy !== null) return;
    if (binary) return this.onReply(data);
    const m = parseWire(data.toString());
    if (m === null) return this.broken('a text message that is neither reply nor event');
    if ('event' in m) return this.dispatch(m);
    const p = this.pending.get(m.id);
    if (p === undefined) return this.broken(`a reply to request ${m.id}, which nobody made`);
    this.pending.delete(m.id);
    if (m.error) p.reject(new HypervisorError(m.error, p.op));
    else p.resolve(m.result);
  }

  private onReply(reply: Buffer): void {
    const due = (this.seq - this.inFlight + 1) >>> 0;
    if (this.inFlight === 0 || reply.length < HYPERCALL_HEADER_BYTES || reply.readUInt32LE(0) !== due)
      return this.broken('a hypercall reply out of order');
    answerByMessage(this.calls.shift()!, reply);
  }

  private dispatch(e: WireEvent): void {
    if (e.event === 'welcome') {
      try {
        return this.onWelcome.resolve(parseWelcome(e.args));
      } catch {
        return this.broken('a welcome without a domid');
      }
    }
    const list = this.handlers.get(e.event);
    if (list === undefined) {
      if (this.backlog.length === BACKLOG_MAX) this.backlog.shift();
      this.backlog.push(e);
      return;
    }
    for (const fn of list) this.call(fn, e);
  }

  /** A handler's own fault must not end the loop over the messages behind it unseen: it is logged and thrown apart. */
  private call(fn: (args: unknown) => void, e: WireEvent): void {
    try {
      fn(e.args);
    } catch (err) {
      this.log.error({ err, event: e.event }, 'an event handler failed');
    }
  }

  /** The hypervisor is trusted, so this is a fault of ours or of a wrong version; no use in going on. */
  private broken(what: string): void {
    this.log.error(`the hypervisor sent ${what}`);
    this.ws?.close(1008);
    this.onClosed(`1008 ${what}`);
  }

  private onClosed(reason: string): void {
    if (this.closedWhy !== null) return;
    this.closedWhy = reason;
    this.onWelcome.reject(new UsageError(`the hypervisor closed the connection: ${reason}`));
    for (const p of this.pending.values())
      p.reject(new HypervisorError({ code: 'ECLOSED', message: `the hypervisor is gone (${reason})` }, p.op));
    this.pending.clear();
    for (const fn of this.closers) fn(reason);
  }
}

function parseWelcome(args: unknown): Welcome {
  const a = args as Record<string, unknown>;
  const numbers = (v: unknown): number[] =>
    Array.isArray(v) ? v.filter((n): n is number => typeof n === 'number') : [];
  const orNull = (v: unknown): number | null => (typeof v === 'number' ? v : null);
  return {
    domid: parseDomId(a.domid as number),
    kind: a.kind as ServiceKind,
    memoryPages: Number(a.memoryPages),
    guests: numbers(a.guests).map(parseDomId),
    controlKey: typeof a.controlKey === 'string' ? a.controlKey : '',
    uid: orNull(a.uid),
    gid: orNull(a.gid),
    groups: numbers(a.groups),
    core: orNull(a.core),
    nativeCore: orNull(a.nativeCore),
  };
}
