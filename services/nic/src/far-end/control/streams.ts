/** What the outer stack does by itself: TCP streams that measure, connections to the guests' discard or chargen ports by which as many
 *  bytes go as can, and pings. */
import { randomInt } from 'node:crypto';
import { nowNs, CHARGEN_PORT, DISCARD_PORT } from '@grantline/base';
import { parseIp } from '@grantline/frames';
import {
  BulkApp,
  bulkMemory,
  type NetStack,
  type AppCounters,
  type BulkMemory,
  type Connection,
  type ConnectionEvents,
} from '@grantline/tcpip';

/** Longest payload: a datagram is 64 KiB with its headers. */
export const PING_BYTES_MAX = 65507;

interface StreamPlan {
  /** Addresses of the guests. */
  ips: string[];
  /** As the guests see it. */
  direction: 'rx' | 'tx';
  /** To each guest. */
  streams: number;
}

class Stream implements ConnectionEvents {
  connection: Connection | null = null;
  open = false;
  closed = false;
  private app: BulkApp | null = null;
  private readonly memory: BulkMemory;
  private readonly sends: boolean;

  constructor(memory: BulkMemory, sends: boolean) {
    this.memory = memory;
    this.sends = sends;
  }

  onOpen(): void {
    this.open = true;
    this.app = new BulkApp(this.connection!, this.memory, this.sends);
    this.app.onOpen();
  }
  onReadable(): void {
    this.app?.onReadable();
  }
  onEnd(): void {
    this.app?.onEnd();
  }
  onWritable(): void {
    this.app?.onWritable();
  }
  onClose(error: number): void {
    this.open = false;
    this.closed = true;
    this.app?.onClose(error);
  }
}

export class Streams {
  private readonly stack: NetStack;
  private readonly memory: BulkMemory;
  private list: Stream[] = [];
  private plan: StreamPlan | null = null;

  constructor(stack: NetStack, counters: AppCounters) {
    this.stack = stack;
    this.memory = bulkMemory(counters);
  }

  start(plan: StreamPlan): void {
    this.stop();
    this.plan = plan;
    this.stack.poll(nowNs());
    const sends = plan.direction === 'rx';
    for (const ip of plan.ips) {
      for (let i = 0; i < plan.streams; i++) {
        const stream = new Stream(this.memory, sends);
        stream.connection = this.stack.connect(parseIp(ip), sends ? DISCARD_PORT : CHARGEN_PORT, stream);
        if (stream.connection !== null) this.list.push(stream);
      }
    }
  }

  /** Ends all of them by resets: what is under way does not count any more. */
  stop(): void {
    this.stack.poll(nowNs());
    for (const { connection, closed } of this.list) if (!closed) connection?.abort();
    this.list = [];
    this.plan = null;
  }

  /** Ends them. @returns what starts them again; null: there are none */
  suspend(): (() => void) | null {
    const { plan } = this;
    this.stop();
    return plan === null ? null : () => this.start(plan);
  }

  status(): { streams: number; open: number } {
    return { streams: this.list.length, open: this.list.filter((s) => s.open).length };
  }
}

interface Waiting {
  dst: number;
  bytes: number;
  sentNs: number;
  done(us: number | null): void;
}

/** Pings guests: ICMP echo, the reply compared byte for byte. */
export class Pinger {
  private readonly stack: NetStack;
  private readonly wake: () => void;
  private readonly id = randomInt(1, 0x10000);
  private readonly waiting = new Map<number, Waiting>();
  private sequence = 0;

  constructor(stack: NetStack, wake: () => void) {
    this.stack = stack;
    this.wake = wake;
    stack.icmp.onEchoReply = (src, id, sequence, at, bytes) => this.reply(src, id, sequence, at, bytes);
  }

  /** @returns the round trip in microseconds; null: no right answer within the time */
  ping(ip: string, bytes: number, timeoutMs: number): Promise<number | null> {
    const dst = parseIp(ip) | 0;
    const sequence = (this.sequence = (this.sequence + 1) & 0xffff);
    return new Promise((resolve) => {
      const timer = setTimeout(() => done(null), timeoutMs);
      const done = (us: number | null): void => {
        clearTimeout(timer);
        this.waiting.delete(sequence);
        resolve(us);
      };
      this.stack.poll(nowNs());
      this.waiting.set(sequence, { dst, bytes, sentNs: nowNs(), done });
      const fill = (at: number, n: number): void => {
        const { u8 } = this.stack.host.mem;
        for (let i = 0; i < n; i++) u8[at + i] = (sequence + i) & 0xff;
      };
      if (!this.stack.icmp.request(dst, this.id, sequence, bytes, fill)) done(null);
      this.wake();
    });
  }

  private reply(src: number, id: number, sequence: number, at: number, bytes: number): void {
    const w = this.waiting.get(sequence);
    if (id !== this.id || w === undefined || w.dst !== src || w.bytes !== bytes) return;
    const { u8 } = this.stack.host.mem;
    for (let i = 0; i < bytes; i++) if (u8[at + i] !== ((sequence + i) & 0xff)) return;
    w.done((nowNs() - w.sentNs) / 1000);
  }
}
