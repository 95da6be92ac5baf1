/** Pings guests from the outer stack: ICMP echo, the reply compared byte for byte. */
import { randomInt } from 'node:crypto';
import { nowNs } from '@grantline/base';
import { parseIp } from '@grantline/frames';
import type { NetStack } from '@grantline/tcpip';

/** Longest payload: a datagram is 64 KiB with its headers. */
export const PING_BYTES_MAX = 65507;

interface Waiting {
  dst: number;
  bytes: number;
  sentNs: number;
  done(us: number | null): void;
}

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
