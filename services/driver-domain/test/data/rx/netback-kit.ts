/** Netback's two receive queues with everything around them, for tests. */
import { NETBACK_COUNTERS } from '@grantline/observe';
import type { CounterBlock, Poller } from '@grantline/machine';
import { NICQ_PAGES } from '@grantline/xen';
import { PAGE_SIZE } from '@grantline/base';
import { Buffers } from '../../../src/data/bridge/buffers.js';
import { NetbackBridgeRx } from '../../../src/data/rx/netback-bridge-rx.js';
import { NetbackNicRx } from '../../../src/data/rx/netback-nic-rx.js';
import { GrantPool } from '../../../src/data/grants/grant-pool.js';
import { RxSlots } from '../../../src/data/rx/rx-slots.js';
import { Arena, Bell, FakeHypervisor, ManualMeter, MockFront, MockNic, block } from '../../kit.js';

/** Grefs that tests use: FIRST_GREF + page number. */
export const FIRST_GREF = 8;

export interface Setup {
  gso?: boolean;
  start?: number;
  bufferBytes?: number;
  usesOffset?: boolean;
  /** Guest pages, all granted. */
  guestPages?: number;
  buffers?: number;
}

export class Base {
  readonly arena: Arena;
  readonly xen: FakeHypervisor;
  readonly front: MockFront;
  readonly slots: RxSlots;
  readonly pool = new GrantPool();
  readonly counters: CounterBlock = block(NETBACK_COUNTERS);
  readonly meter = new ManualMeter();
  readonly guest = new Bell();
  readonly faults: string[] = [];
  readonly pages: number[] = [];
  readonly own: number;
  readonly ownPages: number;
  readonly bufferBytes: number;
  readonly loop = { schedule: (p: Poller): void => void (p.scheduled = true) };

  constructor(s: Setup, ownPages: number) {
    const guestPages = s.guestPages ?? 64;
    this.ownPages = ownPages;
    this.arena = new Arena(guestPages + ownPages + 8);
    const { mem } = this.arena;
    this.own = this.arena.pages(ownPages);
    this.xen = new FakeHypervisor(mem, this.own);
    for (let i = 0; i < guestPages; i++) {
      this.pages.push(this.arena.pages());
      this.xen.pages.set(FIRST_GREF + i, this.pages[i]);
    }
    this.bufferBytes = s.bufferBytes ?? PAGE_SIZE;
    this.front = new MockFront(mem, this.arena.pages(), s.start ?? 0);
    this.slots = new RxSlots(mem, this.front.back(), this.bufferBytes, s.usesOffset ?? this.bufferBytes < PAGE_SIZE);
  }

  /** Puts the grant into the pool, as ADD does. */
  pooled(gref: number): void {
    const page = this.xen.pages.get(gref)!;
    this.pool.add(gref, 100000 + gref, FakeHypervisor.dpn(page), page);
  }

  /** The bytes that a frame's responses say were put. */
  bytesOf(responses: readonly { gref: number; offset: number; status: number }[]): Uint8Array {
    const { u8 } = this.arena.mem;
    return Uint8Array.from(
      responses.flatMap((r) => [
        ...u8.subarray(this.xen.pages.get(r.gref)! + r.offset, this.xen.pages.get(r.gref)! + r.offset + r.status),
      ]),
    );
  }

  get v(): Record<string, number> {
    this.counters.commit();
    return this.counters.read();
  }
}

export class BridgeBase extends Base {
  readonly buffers: Buffers;
  readonly rx: NetbackBridgeRx;
  refills = 0;

  constructor(s: Setup = {}) {
    const count = s.buffers ?? 64;
    super(s, count);
    this.buffers = new Buffers(this.own, 0, count);
    this.rx = new NetbackBridgeRx({
      mem: this.arena.mem,
      slots: this.slots,
      buffers: this.buffers,
      pool: this.pool,
      granter: this.xen.granter,
      guest: this.guest,
      counters: this.counters,
      meter: this.meter,
      loop: this.loop,
      refill: () => void this.refills++,
      gso: s.gso ?? false,
      onFault: (reason) => void this.faults.push(reason),
    });
    this.pool.addUser(this.rx);
  }

  /** A frame arrives in the driver domain's buffers and is handed over. @returns false when no buffer is free */
  deliver(frame: Uint8Array): boolean {
    const need = Math.ceil(frame.length / PAGE_SIZE);
    if (this.buffers.available < need) return false;
    let head = -1;
    let last = -1;
    for (let i = 0; i < need; i++) {
      const id = this.buffers.take();
      this.buffers.filled(id);
      this.arena.mem.u8.set(frame.subarray(i * PAGE_SIZE, (i + 1) * PAGE_SIZE), this.buffers.offset(id));
      if (head < 0) head = id;
      else this.buffers.next[last] = id;
      last = id;
    }
    this.rx.deliver(head, frame.length);
    this.buffers.release(head);
    return true;
  }
}

export class NicBase extends Base {
  readonly nic: MockNic;
  readonly nicBell = new Bell();
  readonly rx: NetbackNicRx;

  constructor(s: Setup = {}) {
    super(s, NICQ_PAGES);
    this.nic = new MockNic(this.arena.mem, this.own, s.start);
    for (const page of this.pages) this.nic.table.set(FakeHypervisor.dpn(page), page);
    this.rx = new NetbackNicRx({
      mem: this.arena.mem,
      slots: this.slots,
      queue: this.nic.queue,
      pool: this.pool,
      granter: this.xen.granter,
      guest: this.guest,
      nic: this.nicBell,
      counters: this.counters,
      meter: this.meter,
      loop: this.loop,
      onFault: (reason) => void this.faults.push(reason),
    });
    this.pool.addUser(this.rx);
  }
}

/** Cuts responses into frames; an error response stands alone. */
export function framesIn<R extends { flags: number; status: number }>(responses: readonly R[]): R[][] {
  const out: R[][] = [];
  let open: R[] = [];
  for (const r of responses) {
    open.push(r);
    if ((r.flags & 4) !== 0) continue;
    out.push(open);
    open = [];
  }
  if (open.length > 0) out.push(open);
  return out;
}
