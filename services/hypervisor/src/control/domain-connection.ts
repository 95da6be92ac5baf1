/** One domain's connection: tells messages apart, keeps hypercall replies in order, and bounds what a domain can make
 *  the hypervisor hold for it. */
import type { RawData, WebSocket } from 'ws';
import type { DomId } from '@grantline/base';
import type { TimeShare } from './accounting.js';
import type { HypercallRunner, Reply } from './hypercall-runner.js';

/** Bytes that may wait for a domain which does not read; then it is cut off. */
const BACKLOG_BYTES = 4 << 20;
/** More than that waits to be read: what can be told later is. */
const KEEPS_UP_BYTES = 256 << 10;
/** Messages, and bytes of them, that may wait behind a batch that waits for the NIC. A driver domain with all guests has
 *  less than half of that under way. */
const BEHIND_MESSAGES = 4096;
const BEHIND_BYTES = 8 << 20;
const CLOSE_LIMIT_MS = 500;

interface ConnectionOptions {
  domid: DomId;
  runner: HypercallRunner;
  /** Of the hypervisor's time; not given: no limit. */
  share?: TimeShare | null;
  /** The other end's address; not given: it came by the socket file. */
  from?: string | null;
  /** Executes a request; may throw, or return a promise. */
  request(op: string, args: unknown): unknown;
  /** A message was neither hypercall nor request; the connection is closing. */
  garbage(what: string): void;
  tooSlow(): void;
  closed(): void;
}

interface Request {
  id: number;
  op: string;
  args: unknown;
}

export class DomainConnection {
  /** The other end's address; null: it came by the socket file. */
  readonly from: string | null;
  private readonly ws: WebSocket;
  private readonly o: ConnectionOptions;
  /** Messages behind a batch whose reply must wait. */
  private readonly behind: Buffer[] = [];
  private behindBytes = 0;
  private held = false;
  /** What was read before the domain's time was used up. */
  private readonly late: { data: Buffer; binary: boolean }[] = [];
  /** It has used up its time, and is not read. */
  private paused = false;
  private readonly share: TimeShare | null;
  private readonly onReleased = (reply: Reply): void => this.released(reply);

  constructor(ws: WebSocket, options: ConnectionOptions) {
    this.ws = ws;
    this.o = options;
    this.from = options.from ?? null;
    this.share = options.share ?? null;
    ws.on('message', (data: RawData, binary: boolean) => {
      if (ws.readyState !== ws.OPEN) return;
      if (this.paused) this.late.push({ data: data as Buffer, binary });
      else this.serve(data as Buffer, binary);
      this.look();
    });
    ws.on('ping', (data) => {
      if (ws.readyState !== ws.OPEN) return;
      ws.pong(data);
      if (ws.bufferedAmount > BACKLOG_BYTES) this.tooSlow();
    });
    // A message that is too long or no proper frame: ws has closed the connection already.
    ws.on('error', (error) => options.garbage(error.message));
    ws.on('close', () => options.closed());
  }

  /** True while the domain reads what it is sent. */
  get keepsUp(): boolean {
    return !this.paused && this.ws.bufferedAmount < KEEPS_UP_BYTES;
  }

  /** Tells the domain of an event: that, too, is done in its time. */
  sendEvent(text: string): void {
    this.spend(() => this.sendText(text));
    this.look();
  }

  /** Does it in the domain's time. */
  private spend(work: () => void): void {
    if (this.share === null) work();
    else this.share.spend(work);
  }

  private sendText(text: string): void {
    if (this.ws.readyState !== this.ws.OPEN) return;
    this.ws.send(text);
    if (this.ws.bufferedAmount > BACKLOG_BYTES) this.tooSlow();
  }

  private serve(data: Buffer, binary: boolean): void {
    // Domains without a limit send the most, and need no closure.
    if (this.share === null) this.execute(data, binary);
    else this.share.spend(() => this.execute(data, binary));
  }

  private execute(data: Buffer, binary: boolean): void {
    if (!binary) this.text(data);
    else if (this.held || this.behind.length > 0) this.queue(data);
    else this.hypercall(data);
  }

  /** Stops to read a domain whose time is used up. */
  private look(): void {
    const waitMs = this.paused || this.share === null ? 0 : this.share.waitMs;
    if (waitMs === 0 || this.ws.readyState !== this.ws.OPEN) return;
    this.paused = true;
    this.ws.pause();
    setTimeout(() => this.resume(), waitMs).unref();
  }

  private resume(): void {
    this.paused = false;
    this.catchUp();
    while (!this.paused && this.late.length > 0 && this.ws.readyState === this.ws.OPEN) {
      const { data, binary } = this.late.shift()!;
      this.serve(data, binary);
      this.look();
    }
    if (!this.paused) this.ws.resume();
  }

  /** Ends politely, and by force if the other end does not answer. */
  close(code: number, reason: string): void {
    this.ws.close(code, reason);
    setTimeout(() => this.ws.terminate(), CLOSE_LIMIT_MS).unref();
  }

  terminate(): void {
    this.ws.terminate();
  }

  private hypercall(message: Buffer): void {
    const reply = this.o.runner.run(this.o.domid, message, this.onReleased);
    if (reply === 'garbage') return this.garbage('a binary message that is no hypercall');
    if (reply === 'held') this.held = true;
    else this.sendReply(reply);
  }

  private queue(message: Buffer): void {
    this.behindBytes += message.length;
    if (this.behind.length === BEHIND_MESSAGES || this.behindBytes > BEHIND_BYTES) return this.tooSlow();
    this.behind.push(message);
  }

  private released(reply: Reply): void {
    this.held = false;
    this.sendReply(reply);
    this.catchUp();
  }

  /** Executes what waits behind a batch that has been released. */
  private catchUp(): void {
    while (!this.held && !this.paused && this.behind.length > 0 && this.ws.readyState === this.ws.OPEN) {
      const message = this.behind.shift()!;
      this.behindBytes -= message.length;
      this.spend(() => this.hypercall(message));
      this.look();
    }
  }

  private sendReply(reply: Reply): void {
    if (this.ws.readyState !== this.ws.OPEN) return this.o.runner.free(reply);
    this.ws.send(reply.buffer.subarray(0, reply.bytes));
    const waiting = this.ws.bufferedAmount;
    // Written in one go, as nearly always: the buffer serves again. Otherwise the socket still has it.
    if (waiting === 0) this.o.runner.free(reply);
    else if (waiting > BACKLOG_BYTES) this.tooSlow();
  }

  private text(data: Buffer): void {
    const request = parseRequest(data);
    if (request === null) return this.garbage('a text message that is no request');
    try {
      const result = this.o.request(request.op, request.args);
      if (result instanceof Promise) {
        result.then(
          (r: unknown) => this.answer(request.id, r),
          (error: unknown) => this.refuse(request.id, error),
        );
      } else {
        this.answer(request.id, result);
      }
    } catch (error) {
      this.refuse(request.id, error);
    }
  }

  private answer(id: number, result: unknown): void {
    this.sendText(JSON.stringify({ id, result }));
  }

  private refuse(id: number, error: unknown): void {
    const { code = 'EIO', message = 'failed' } = error as { code?: string; message?: string };
    this.sendText(JSON.stringify({ id, error: { code, message } }));
  }

  /** Ends it for something that no domain does. */
  garbage(what: string): void {
    this.o.garbage(what);
    this.close(1008, what);
  }

  private tooSlow(): void {
    this.o.tooSlow();
    this.ws.terminate();
  }
}

function parseRequest(data: Buffer): Request | null {
  let v: unknown;
  try {
    v = JSON.parse(data.toString('utf8'));
  } catch {
    return null;
  }
  if (typeof v !== 'object' || v === null || Array.isArray(v)) return null;
  const { id, op, args = {} } = v as Record<string, unknown>;
  if (typeof id !== 'number' || !Number.isSafeInteger(id) || typeof op !== 'string') return null;
  return { id, op, args };
}
