/** Netback's transmit side with everything around it, in one ArrayBuffer: a guest that writes what it likes into its ring, a
 *  hypervisor, a NIC. Not a test itself. */
import {
  NICTX_COMP_SENT,
  NICTX_EOP,
  NETTXF_EXTRA_INFO,
  NETTXF_MORE_DATA,
  TX_SLOT_BYTES,
  XEN_NETIF_EXTRA_TYPE_GSO,
  XEN_NETIF_GSO_TYPE_TCPV4,
  TX_RING_SIZE,
  TxDeviceQueue,
  TxDriverQueue,
  BackRing,
  FrontRing,
  idxAdd,
  ringIdx,
} from '@grantline/xen';
import { PAGE_SIZE } from '@grantline/base';
import { BRIDGE_COUNTERS, DRIVER_COUNTERS, NETBACK_TX_COUNTERS } from '@grantline/observe';
import type { Poller } from '@grantline/machine';
import { Bridge } from '../../../src/data/bridge/bridge.js';
import { Buffers } from '../../../src/data/bridge/buffers.js';
import { NetbackTx } from '../../../src/data/tx/netback-tx.js';
import { GrantPool } from '../../../src/data/grants/grant-pool.js';
import { TxCredit, TxPolicy } from '../../../src/data/tx/tx-policy.js';
import type { TxLocal } from '../../../src/data/tx/local-switch.js';
import { HEADER_PAGES } from '../../../src/data/tx/tx-requests.js';
import { TxPort } from '../../../src/data/tx/tx-port.js';
import { Arena, Bell, FakeHypervisor, ManualMeter, block, frameOf } from '../../kit.js';

export const GUEST_MAC = [2, 0, 0, 0, 0, 1];
export const FAR_MAC = [2, 0, 0, 0xca, 0xb1, 0xe0];
export const FIRST_GREF = 8;

/** A slot as the guest writes it. */
export interface Slot {
  gref: number;
  offset?: number;
  /** Of the whole packet in the first slot. */
  size: number;
  flags?: number;
  id?: number;
}

export interface TxSetup {
  start?: number;
  guestPages?: number;
  ownPort?: boolean;
  local?: TxLocal;
  /** What the toolstack gave besides the MAC address; none, and none is judged. */
  ip?: string;
  nested?: boolean;
  /** The uplink, of another one. */
  port?: TxPort;
}

export class TxBase {
  readonly arena: Arena;
  readonly xen: FakeHypervisor;
  readonly ring: FrontRing;
  readonly tx: NetbackTx;
  readonly port: TxPort;
  device: TxDeviceQueue;
  readonly pool = new GrantPool();
  readonly credit = new TxCredit();
  readonly meter = new ManualMeter();
  readonly guest = new Bell();
  readonly bridge: Bridge;
  readonly faults: string[] = [];
  readonly timers: { ns: number; then: () => void }[] = [];
  /** What the NIC sent, and refused. */
  readonly sent: { bytes: Buffer; flags: number; mss: number; csumStart: number; header: number }[] = [];
  readonly counters = block(NETBACK_TX_COUNTERS);
  windowFree = 256;
  private readonly own: number;
  private readonly windowBase: number;
  private nextSlot = 0;

  constructor(s: TxSetup = {}) {
    const guestPages = s.guestPages ?? 64;
    this.arena = new Arena(guestPages + HEADER_PAGES + 280);
    const { mem } = this.arena;
    this.own = this.arena.pages(HEADER_PAGES);
    this.windowBase = this.arena.pages(256);
    this.xen = new FakeHypervisor(mem, this.own);
    for (let i = 0; i < guestPages; i++) this.xen.pages.set(FIRST_GREF + i, this.arena.pages());
    const ringPage = this.arena.pages();
    this.ring = new FrontRing(mem, ringPage, TX_RING_SIZE, TX_SLOT_BYTES, ringIdx(s.start ?? 0));
    const queuePages = this.arena.pages(3);
    const loop = { schedule: (p: Poller): void => void (p.scheduled = true) };
    const driver = new TxDriverQueue(mem, queuePages, ringIdx(s.start ?? 0));
    const [header, avail, comp] = [queuePages, queuePages + PAGE_SIZE, queuePages + 2 * PAGE_SIZE];
    this.device = new TxDeviceQueue(mem, header, avail, comp, ringIdx(s.start ?? 0));
    this.port = s.port ?? new TxPort(loop, this.meter, block(DRIVER_COUNTERS));
    if (s.port === undefined) this.port.connect(driver, new Bell());
    const buffers = new Buffers(this.own, 0, 1);
    this.bridge = new Bridge(mem, buffers, block(BRIDGE_COUNTERS));
    this.bridge.setStatic('02:00:00:00:00:01', 1);
    this.bridge.setStatic('02:00:00:00:00:02', 2);
    const source = this.bridge.given.add('02:00:00:00:00:01', s.ip ?? null);
    source.nested = s.nested ?? false;
    this.tx = new NetbackTx({
      mem,
      ingress: 1,
      ring: new BackRing(mem, ringPage, TX_RING_SIZE, TX_SLOT_BYTES),
      headers: this.own,
      headersPfn: 0,
      headerDpns: Uint32Array.from({ length: HEADER_PAGES }, (_, i) => FakeHypervisor.dpn(this.own + i * PAGE_SIZE)),
      pool: this.pool,
      granter: this.xen.granter,
      window: this.window(),
      port: this.port,
      ownPort: s.ownPort ?? false,
      policy: new TxPolicy(mem, this.bridge, 1, source),
      local: s.local ?? { take: () => 0, leave: () => {} },
      credit: this.credit,
      guest: this.guest,
      counters: this.counters,
      meter: this.meter,
      loop,
      after: (ns, then) => void this.timers.push({ ns, then }),
      onFault: (reason) => void this.faults.push(reason),
    });
  }

  /** Another NIC, with a queue of its own. @returns the queue as its driver sees it */
  newNic(): TxDriverQueue {
    const at = this.arena.pages(3);
    const driver = new TxDriverQueue(this.arena.mem, at);
    this.device = new TxDeviceQueue(this.arena.mem, at, at + PAGE_SIZE, at + 2 * PAGE_SIZE);
    return driver;
  }

  /** Puts a grant into the pool, as ADD does. */
  pooled(gref: number): void {
    const page = this.xen.pages.get(gref)!;
    this.pool.add(gref, 100000 + gref, FakeHypervisor.dpn(page), page);
  }

  pageOf(gref: number): number {
    return this.xen.pages.get(gref)!;
  }

  /** Writes slots into the ring as they are, and publishes them. */
  slots(...list: Slot[]): void {
    for (const { gref, offset = 0, size, flags = 0, id = this.nextSlot } of list) {
      this.nextSlot++;
      this.raw(gref, offset | (flags << 16), (id & 0xffff) | (size << 16));
    }
    this.ring.push();
  }

  /** A slot with any three words. */
  raw(a: number, b: number, c: number): void {
    const at = this.ring.slot(this.ring.reqProdPvt) >> 2;
    const { u32 } = this.arena.mem;
    u32[at] = a;
    u32[at + 1] = b;
    u32[at + 2] = c;
    this.ring.reqProdPvt = idxAdd(this.ring.reqProdPvt, 1);
  }

  extra(type: number, flags: number, mss = 0, gso = 0): void {
    this.raw(type | (flags << 8) | (mss << 16), gso, 0);
  }

  /** A frame of the guest to the far end. */
  frame(n: number, len: number): Buffer {
    return Buffer.from(frameOf(n, len, FAR_MAC, GUEST_MAC));
  }

  /** Puts a packet into granted pages, `sizes` bytes into each, and its slots into the ring. */
  send(bytes: Uint8Array, grefs: readonly number[], sizes: readonly number[], offset = 0, flags = 0, mss = 0): void {
    const { u8 } = this.arena.mem;
    let from = 0;
    const parts: { gref: number; len: number }[] = [];
    for (let i = 0; from < bytes.length; i++) {
      const len = Math.min(bytes.length - from, sizes[i % sizes.length], PAGE_SIZE - offset);
      u8.set(bytes.subarray(from, from + len), this.pageOf(grefs[i]) + offset);
      parts.push({ gref: grefs[i], len });
      from += len;
    }
    parts.forEach(({ gref, len }, i) => {
      const more = i < parts.length - 1 ? NETTXF_MORE_DATA : 0;
      const own = i === 0 ? flags | (mss > 0 ? NETTXF_EXTRA_INFO : 0) : 0;
      const size = i === 0 ? bytes.length : len;
      this.raw(gref, offset | ((own | more) << 16), (this.nextSlot++ & 0xffff) | (size << 16));
      if (i === 0 && mss > 0) this.extra(XEN_NETIF_EXTRA_TYPE_GSO, 0, mss, XEN_NETIF_GSO_TYPE_TCPV4);
    });
    this.ring.push();
  }

  /** Everybody works until nothing moves. */
  run(): void {
    for (let moved = true; moved;) {
      moved = this.tx.poll() > 0;
      moved = this.replyAll() > 0 || moved;
      moved = this.transmit() > 0 || moved;
      moved = this.port.poll() > 0 || moved;
    }
  }

  /** The hypervisor answers. @returns calls */
  replyAll(): number {
    return this.xen.replyAll();
  }

  /** The NIC sends what is posted; a page that nothing gives it would be a mistake of netback's, and throws. */
  transmit(status = NICTX_COMP_SENT): number {
    const { u8, u32 } = this.arena.mem;
    const n = this.device.available();
    let chain = 0;
    let bytes: number[] = [];
    for (let i = 0; i < n; i++) {
      const at = this.device.entry(chain++);
      const span = u32[at + 1];
      const page = this.pageFor(u32[at]);
      const from = page + (span & 0xffff);
      bytes.push(...u8.subarray(from, from + (span >>> 16)));
      if ((u32[at + 2] & NICTX_EOP) === 0) continue;
      const first = this.device.entry();
      const [fm, ch] = [u32[first + 2], u32[first + 3]];
      this.sent.push({
        bytes: Buffer.from(bytes),
        flags: fm & 0xffff & ~NICTX_EOP,
        mss: fm >>> 16,
        csumStart: ch & 0xffff,
        header: ch >>> 16,
      });
      this.device.complete(chain, status);
      chain = 0;
      bytes = [];
    }
    this.device.publish();
    return n;
  }

  /** Takes all responses: id and status each. */
  take(): { id: number; status: number }[] {
    const n = this.ring.unconsumed();
    if (n < 0) throw new Error('netback answered more than was asked');
    const out = Array.from({ length: n }, (_, i) => {
      const word = this.arena.mem.u32[this.ring.slot(idxAdd(this.ring.rspCons, i)) >> 2];
      return { id: word & 0xffff, status: word >> 16 };
    });
    this.ring.rspCons = idxAdd(this.ring.rspCons, n);
    this.ring.arm();
    return out;
  }

  get v(): Record<string, number> {
    this.counters.commit();
    return this.counters.read();
  }

  /** What must be so when nothing is under way: no mapping, no pin, no promise. */
  leaks(): string[] {
    const out: string[] = [];
    if (this.xen.mapped.size > 0) out.push(`${this.xen.mapped.size} pages are mapped`);
    if (this.xen.pins.size > 0) out.push(`${this.xen.pins.size} handles are alive`);
    if (this.windowFree !== 256) out.push(`${256 - this.windowFree} window slots are taken`);
    if (this.tx.packets.room !== 256) out.push(`${256 - this.tx.packets.room} slots are taken`);
    if (this.port.room() !== 256) out.push('descriptors are promised or posted');
    return out;
  }

  private pageFor(dpn: number): number {
    const page = (dpn - 0x4000) * PAGE_SIZE;
    const ours = page >= this.own && page < this.own + HEADER_PAGES * PAGE_SIZE;
    const granted = [...this.xen.pins.values()].some((gref) => this.pageOf(gref) === page);
    const standing = this.pool.grefs().some((gref) => this.pageOf(gref) === page);
    if (!ours && !granted && !standing) throw new Error(`the NIC was told to read page ${dpn}, which nobody gave it`);
    return page;
  }

  private window(): ConstructorParameters<typeof NetbackTx>[0]['window'] {
    const free = Array.from({ length: 256 }, (_, i) => this.windowBase + i * PAGE_SIZE);
    return {
      take: () => {
        if (this.windowFree === 0) return -1;
        this.windowFree--;
        return free.pop()!;
      },
      map: (at, pfn) => {
        this.xen.mapped.set(at, pfn);
        return true;
      },
      unmap: (at) => {
        this.xen.mapped.delete(at);
        free.push(at);
        this.windowFree++;
      },
    };
  }
}
