/** TCP streams that measure: connections of the outer stack to the guests' discard or chargen ports, as many bytes as go. */
import { nowNs, CHARGEN_PORT, DISCARD_PORT } from '@grantline/base';
import { parseIp } from '@grantline/frames';
import {
  BulkApp,
  bulkMemory,
  type AppCounters,
  type BulkMemory,
  type Connection,
  type NetStack,
  type ConnectionEvents,
} from '@grantline/tcpip';

export interface StreamPlan {
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
