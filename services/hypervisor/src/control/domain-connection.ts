/** One domain's connection: tells messages apart, keeps hypercall replies in order, and bounds what a domain can make
 *  the hypervisor hold for it. */
import type { DomId } from '@grantline/base';
import type { RawData, WebSocket } from 'ws';
import type { HypercallRunner, Reply } from './hypercall-runner.js';
import type { TimeShare } from './time-share.js';

/** Bytes that may wait for a domain which does not read; then it is cut off. */
const BACKLOG_BYTES = 4 << 20;
/** More than that waits to be read: what can be told later is. */
const KEEPS_UP_BYTES = 256 << 10;
/** Messages, and bytes of them, that may wait behind a batch that waits for the NIC. A driver domain with all guests has
 *  less than half of that under way. */
const BEHIND_MESSAGES = 4096;
const BEHIND_BYTES = 8 << 20;
const CLOSE_LIMIT_MS = 500;

export interface ConnectionWorld {
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
  readonly domid: DomId;
  /** The other end's address; null: it came by the socket file. */
  readonly from: string | null;
  private readonly ws: WebSocket;
  private readonly runner: HypercallRunner;
  private readonly world: ConnectionWorld;
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

  /** @param share of the hypervisor's time; null: no limit */
  constructor(
    ws: WebSocket,
    domid: DomId,
    runner: HypercallRunner,
    world: ConnectionWorld,
    share: TimeShare | null = null,
    from: string | null = null,
  ) {
    this.from = from;
    this.share = share;
    this.ws = ws;
    this.domid = domid;
    this.runner = runner;
    this.world = world;
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
    ws.on('error', (error) => world.garbage(error.message));
    ws.on('close', () => world.closed());
  }

  /** True while the domain reads what it is sent. */
  get keepsUp(): boolean {
    return !this.paused && this.ws.bufferedAmount < KEEPS_UP_BYTES;
  }

  /** Tells the domain of an event: that, too, is done in its time. */
  sendEvent(text: string): void {
    if (this.share === null) return this.sendText(text);
    this.share.spend(() => this.sendText(text));
    this.look();
  }

  private sendText(text: string): void {
    if (this.ws.readyState !== this.ws.OPEN) return;
    this.ws.send(text);
    if (this.ws.bufferedAmount > BACKLOG_BYTES) this.tooSlow();
  }

  private serve(data: Buffer, binary: boolean): void {
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
    setTimeout(() => this.goOn(), waitMs).unref();
  }

  private goOn(): void {
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
    const reply = this.runner.run(this.domid, message, this.onReleased);
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
      if (this.share === null) this.hypercall(message);
      else this.share.spend(() => this.hypercall(message));
      this.look();
    }
  }

  private sendReply(reply: Reply): void {
    if (this.ws.readyState !== this.ws.OPEN) return this.runner.free(reply);
    this.ws.send(reply.buffer.subarray(0, reply.bytes));
    const waiting = this.ws.bufferedAmount;
    // Written in one go, as nearly always: the buffer serves again. Otherwise the socket still has it.
    if (waiting === 0) this.runner.free(reply);
    else if (waiting > BACKLOG_BYTES) this.tooSlow();
  }

  private text(data: Buffer): void {
    const request = parseRequest(data);
    if (request === null) return this.garbage('a text message that is no request');
    try {
      const result = this.world.request(request.op, request.args);
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

  private garbage(what: string): void {
    this.world.garbage(what);
    this.close(1008, what);
  }

  private tooSlow(): void {
    this.world.tooSlow();
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
