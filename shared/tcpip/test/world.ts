/** Two stacks on a cable in virtual time: with seeded loss, duplication, corruption and reordering. */
import { Rng } from '@grantline/base';
import { RX_CHECKSUM_BLANK, RX_CHECKSUM_OK } from '../src/host.js';
import type { NetSettings } from '../src/settings.js';
import { NetStack, type NetStackOptions } from '../src/net-stack.js';
import { IP_A, IP_B, MAC_A, MAC_B, TestLink, knownSecret, segment, type Peer, type Sent } from '../testkit/peer.js';
import { TestSpace } from '@grantline/machine/testkit';

export interface Faults {
  seed: number;
  /** Of 1000 frames. */
  loss: number;
  duplicate: number;
  corrupt: number;
  reorder: number;
  /** One way, and how much longer a reordered frame takes; microseconds. */
  delayUs: number;
  extraUs: number;
}

export const CLEAN: Faults = { seed: 1, loss: 0, duplicate: 0, corrupt: 0, reorder: 0, delayUs: 50, extraUs: 0 };

export interface SideOptions {
  settings?: Partial<NetSettings>;
  coalesce?: boolean;
  isn?: NetStackOptions['isn'];
  spaceBytes?: number;
  /** Through the other one, to all the world. */
  gateway?: boolean;
}

interface Flying {
  at: number;
  order: number;
  to: Side;
  sent: Sent;
  whole: boolean;
}

/** One end. */
export class Side {
  readonly stack: NetStack;
  readonly link: TestLink;
  readonly space: TestSpace;
  /** Frames that it sent, newest last; for tests that look at them. */
  readonly log: Sent[] = [];
  private readonly rxAt: number;
  private used = 0;

  constructor(world: World, a: boolean, o: SideOptions) {
    this.space = new TestSpace(o.spaceBytes ?? 12 << 20);
    this.link = new TestLink(this.space, (sent) => world.carry(this, sent));
    this.rxAt = this.space.mapPrivate(2 << 20);
    this.stack = new NetStack({
      link: this.link,
      space: this.space,
      secret: knownSecret(a ? 11 : 22),
      address: {
        mac: a ? MAC_A : MAC_B,
        ip: a ? IP_A : IP_B,
        prefix: 24,
        ...(o.gateway ? { gateway: a ? IP_B : IP_A } : {}),
      },
      settings: { memory: 4 << 20, ...o.settings },
      coalesce: o.coalesce ?? true,
      ...(o.isn ? { isn: o.isn } : {}),
    });
  }

  /** Gives a frame in; its memory stays until the batch ends. */
  receive(frame: Uint8Array, flags: number, gsoSize: number): void {
    if (this.used + frame.length > 2 << 20) {
      this.stack.flush();
      this.used = 0;
    }
    const at = this.rxAt + this.used + 2;
    this.space.mem.u8.set(frame, at);
    this.used += (frame.length + 71) & ~63;
    this.stack.input(at, frame.length, flags, gsoSize);
  }

  endBatch(): void {
    this.stack.flush();
    this.used = 0;
  }
}

/** Two sides and the cable. */
export class World {
  readonly a: Side;
  readonly b: Side;
  nowNs = 1e9;
  faults: Faults;
  /** Packets pass as they are sent, unsegmented, checksums blank. */
  passWhole = false;
  /** Frames that a test does not let through. */
  filter: (from: Side, frame: Uint8Array) => boolean = () => true;
  /** Keep copies of what is sent. */
  logging = false;
  frames = 0;
  private readonly rng: Rng;
  private flying: Flying[] = [];
  private order = 0;

  constructor(faults: Partial<Faults> = {}, a: SideOptions = {}, b: SideOptions = {}) {
    this.faults = { ...CLEAN, ...faults };
    this.rng = new Rng(this.faults.seed);
    this.a = new Side(this, true, a);
    this.b = new Side(this, false, b);
    this.a.stack.poll(this.nowNs);
    this.b.stack.poll(this.nowNs);
  }

  carry(from: Side, sent: Sent): void {
    const to = from === this.a ? this.b : this.a;
    if (this.logging) from.log.push(sent);
    if (this.passWhole) {
      if (this.filter(from, sent.frame)) this.fly(to, sent, true, 0);
      return;
    }
    for (const frame of segment(sent)) {
      const f = this.faults;
      this.frames++;
      if (!this.filter(from, frame) || this.rng.below(1000) < f.loss) continue;
      const extra = this.rng.below(1000) < f.reorder ? this.rng.below(Math.max(1, f.extraUs)) : 0;
      const times = this.rng.below(1000) < f.duplicate ? 2 : 1;
      if (this.rng.below(1000) < f.corrupt) {
        const at = this.rng.below(frame.length);
        frame[at] ^= 1 << this.rng.below(8);
      }
      for (let i = 0; i < times; i++)
        this.fly(to, { frame, csumStart: 0, csumOffset: 0, gsoSize: 0 }, false, extra + i * this.rng.below(100));
    }
  }

  /** Hands in, flushes, until nothing happens before a time or a condition holds. @returns the condition held */
  run(ms: number, until: () => boolean = () => false): boolean {
    const end = this.nowNs + ms * 1e6;
    for (;;) {
      this.a.endBatch();
      this.b.endBatch();
      if (until()) return true;
      const next = Math.min(
        this.flying.length > 0 ? this.flying[0].at : Infinity,
        this.a.stack.nextDeadlineNs,
        this.b.stack.nextDeadlineNs,
      );
      if (next > end) {
        this.advance(end);
        return until();
      }
      this.advance(Math.max(next, this.nowNs));
      while (this.flying.length > 0 && this.flying[0].at <= this.nowNs) {
        const f = this.pop();
        const flags = !f.whole ? 0 : f.sent.csumStart > 0 ? RX_CHECKSUM_BLANK : RX_CHECKSUM_OK;
        f.to.receive(f.sent.frame, flags, f.whole ? f.sent.gsoSize : 0);
      }
    }
  }

  private advance(nowNs: number): void {
    this.nowNs = nowNs;
    this.a.stack.poll(nowNs);
    this.b.stack.poll(nowNs);
  }

  private fly(to: Side, sent: Sent, whole: boolean, extraUs: number): void {
    const f: Flying = {
      at: this.nowNs + (this.faults.delayUs + extraUs) * 1000,
      order: this.order++,
      to,
      sent,
      whole,
    };
    const q = this.flying;
    q.push(f);
    for (let i = q.length - 1; i > 0 && before(q[i], q[i - 1]); i--) [q[i], q[i - 1]] = [q[i - 1], q[i]];
  }

  private pop(): Flying {
    return this.flying.shift()!;
  }
}

const before = (a: Flying, b: Flying): boolean => a.at < b.at || (a.at === b.at && a.order < b.order);

/** Connects a to b's port 80. */
export function join(world: World, client: Peer, server: Peer, port = 80): void {
  if (!world.b.stack.tcp.context.table.listeners.has(port))
    world.b.stack.listen(port, (connection) => {
      server.connection = connection;
      return server;
    });
  client.connection = world.a.stack.connect(IP_B, port, client);
}
