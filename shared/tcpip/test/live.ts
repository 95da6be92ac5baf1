/** Two stacks in this process, on a cable without delay, driven by the event loop: for streams and http. */
import { systemClock } from '@grantline/base';
import { StackDriver } from './stack-driver.js';
import { RX_CHECKSUM_BLANK, RX_CHECKSUM_OK } from '../src/host.js';
import type { NetSettings } from '../src/settings.js';
import { NetStack } from '../src/net-stack.js';
import { IP_A, IP_B, MAC_A, MAC_B, TestLink, knownSecret, type Sent } from '../testkit/peer.js';
import { TestSpace } from '@grantline/machine/testkit';

export class LiveSide {
  readonly stack: NetStack;
  readonly driver: StackDriver;
  peer: LiveSide | null = null;
  private readonly space = new TestSpace(24 << 20);
  private queue: Sent[] = [];

  constructor(a: boolean, settings: Partial<NetSettings> = {}) {
    const link = new TestLink(this.space, (sent) => {
      this.peer!.queue.push(sent);
      this.peer!.driver.schedule();
    });
    const area = this.space.mapPrivate(4 << 20);
    this.stack = new NetStack({
      link,
      space: this.space,
      secret: knownSecret(a ? 1 : 2),
      address: { mac: a ? MAC_A : MAC_B, ip: a ? IP_A : IP_B, prefix: 24 },
      settings: { memory: 16 << 20, ...settings },
    });
    this.driver = new StackDriver(this.stack, systemClock, () => {
      let used = 0;
      while (this.queue.length > 0 && used < 4 << 20) {
        const { frame, csumStart, gsoSize } = this.queue.shift()!;
        const at = area + used + 2;
        this.space.mem.u8.set(frame, at);
        used += 1 << 17;
        this.stack.input(at, frame.length, csumStart > 0 ? RX_CHECKSUM_BLANK : RX_CHECKSUM_OK, gsoSize);
      }
      if (this.queue.length > 0) this.driver.schedule();
    });
  }
}

/** Makes both. */
export function livePair(settings: Partial<NetSettings> = {}): { a: LiveSide; b: LiveSide; stop: () => void } {
  const a = new LiveSide(true, settings);
  const b = new LiveSide(false, settings);
  // Stacks do not keep the process alive: their link would.
  const alive = setInterval(() => {}, 1000);
  a.peer = b;
  b.peer = a;
  return {
    a,
    b,
    stop: () => {
      clearInterval(alive);
      a.driver.stop();
      b.driver.stop();
    },
  };
}
