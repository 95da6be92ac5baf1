/** The software bridge: finds the port of each frame that came through the NIC's default queue (or, on transmit, from a
 *  vif). It learns, forgets after five minutes, floods what it does not know and what goes to a group, and never sends
 *  a frame out of the port that it came in by. */
import * as frames from '@grantline/frames';
import { formatMac, parseMac, GivenAddresses } from '@grantline/frames';
import { PAGE_SHIFT } from '@grantline/base';
import { slots, type CounterBlock, type Mem } from '@grantline/machine';
import { BRIDGE_COUNTERS } from '@grantline/observe';
import type { Buffers, TxSource } from './buffers.js';

// Local, so that the engine folds them into the code: see flow-templates.ts.
const { ETH_DST, ETH_SRC, isGroup, macHi, macLo } = frames;
const C = slots(BRIDGE_COUNTERS);
/** The NIC's port; vifs have the numbers after it. */
export const UPLINK = 0;
export const MAX_PORTS = 64;
const MAX_AGE_NS = 300e9;
/** No frame of a batch, of whatever length, came through the NIC's switch. */
const NONE = new Uint8Array(0);

/** Where the bridge hands frames to. */
export interface BridgePort {
  /** Takes the frame (and a reference to it) or drops and counts it; returns at once.
   *  @param buffer first buffer of the frame
   *  @param len bytes, Ethernet header included, FCS excluded */
  deliver(buffer: number, len: number): void;
  /** @returns true when it takes a packet of that length that was not cut into frames */
  takesBulk?(len: number): boolean;
  /** Drops what waits there in the pages of a guest that goes. */
  dropFrom?(source: TxSource): void;
  /** Takes what `deliver` threw. Not there: it is thrown on to the caller of `deliver`. */
  failed?(err: unknown): void;
}

/** Hands a frame to a port. What that throws is the port's, not that of whose frame it is. */
export function handTo(to: BridgePort, buffer: number, len: number): void {
  try {
    to.deliver(buffer, len);
  } catch (err) {
    if (to.failed === undefined) throw err;
    to.failed(err);
  }
}

export class Bridge {
  readonly table: BridgeTable;
  /** What the toolstack gave to whom. */
  readonly given: GivenAddresses;
  private readonly mem: Mem;
  private readonly base: number;
  private readonly counters: CounterBlock;
  private readonly maxAgeNs: number;
  private readonly ports: (BridgePort | null)[] = new Array<BridgePort | null>(MAX_PORTS).fill(null);
  /** Highest port that was ever attached. */
  lastPort = 0;
  // The source and the destination seen last: frames come in trains. Any change of the table forgets both.
  private srcHi = 0;
  private srcLo = 0;
  private srcPort = -1;
  private srcSlot = -1;
  private dstHi = 0;
  private dstLo = 0;
  private dstPort = -1;

  constructor(mem: Mem, buffers: Buffers, counters: CounterBlock, table = new BridgeTable(), maxAgeNs = MAX_AGE_NS) {
    this.mem = mem;
    this.given = new GivenAddresses(mem);
    this.base = buffers.base;
    this.counters = counters;
    this.table = table;
    this.maxAgeNs = maxAgeNs;
  }

  /** Who is attached at a port. */
  portAt(port: number): BridgePort | null {
    return this.ports[port] ?? null;
  }

  attach(port: number, to: BridgePort): void {
    if (port < 0 || port >= MAX_PORTS) throw new RangeError(`the bridge has no port ${port}`);
    this.ports[port] = to;
    this.lastPort = Math.max(this.lastPort, port);
    this.forgetLast();
  }

  detach(port: number): void {
    this.ports[port] = null;
    this.table.forgetPort(port);
    this.forgetLast();
  }

  /** Binds an address to a port, whether the port is attached or not. */
  setStatic(mac: string, port: number): void {
    const { hi, lo } = parseMac(mac);
    this.table.setStatic(hi, lo, port);
    this.forgetLast();
  }

  removeStatic(mac: string): void {
    const { hi, lo } = parseMac(mac);
    this.table.remove(hi, lo);
    this.forgetLast();
  }

  /** Forwards a batch of frames that came in by port `ingress`. The caller keeps its own references.
   *  @param looped by frame, not 0: it came through the NIC's switch, from a guest that has a port here and went past it. Where its source
   *  is, it does not tell: what is not bound to a port may be behind that guest, and the uplink's is what the cable brings for it */
  forward(ids: Int16Array, lens: Uint16Array, n: number, ingress: number, nowNs: number, looped = NONE): void {
    const v = this.counters.v;
    const { mem } = this;
    const mayLoop = looped.length > 0;
    for (let i = 0; i < n; i++) {
      const id = ids[i];
      const at = this.base + (id << PAGE_SHIFT);
      const sHi = macHi(mem, at + ETH_SRC);
      const sLo = macLo(mem, at + ETH_SRC);
      const loop = mayLoop && looped[i] > 0;
      if (loop) {
        // Nothing is learned, nor is what was learned confirmed.
      } else if (sHi === this.srcHi && sLo === this.srcLo && ingress === this.srcPort)
        this.table.seenNs[this.srcSlot] = nowNs;
      else this.learn(sHi, sLo, ingress, nowNs);

      const hi = macHi(mem, at + ETH_DST);
      const lo = macLo(mem, at + ETH_DST);
      let port = this.dstPort;
      if (port < 0 || hi !== this.dstHi || lo !== this.dstLo) port = this.lookup(hi, lo);
      if (port < 0) this.flood(id, lens[i], ingress, loop ? this.homeOf(sHi, sLo, ingress) : ingress);
      else if (port === ingress) v[C.dropHairpin]++;
      else {
        const to = this.ports[port];
        if (to === null) v[C.dropNoPort]++;
        else {
          v[C.forwarded]++;
          handTo(to, id, lens[i]);
        }
      }
    }
    v[C.inFrames] += n;
    this.counters.commit();
  }

  /** Forgets addresses that were silent for too long; called once a second. */
  sweep(nowNs: number): void {
    const aged = this.table.age(nowNs - this.maxAgeNs);
    if (aged === 0) return;
    this.counters.v[C.aged] += aged;
    this.counters.commit();
    this.forgetLast();
  }

  entries(nowNs: number): BridgeEntry[] {
    return this.table.entries(nowNs);
  }

  /** The address was seen as a source at that port. */
  learn(hi: number, lo: number, ingress: number, nowNs: number): void {
    // A group address is nobody's source.
    if (isGroup(hi) || (hi === 0 && lo === 0)) return;
    const known = this.table.find(hi, lo);
    const moved = known >= 0 && this.table.port[known] !== ingress;
    const slot = this.table.learn(hi, lo, ingress, nowNs);
    if (slot < 0) return;
    if (known < 0) this.counters.v[C.learned]++;
    if (known < 0 || moved) this.dstPort = -1;
    this.srcHi = hi;
    this.srcLo = lo;
    this.srcPort = ingress;
    this.srcSlot = slot;
  }

  /** @returns the port of a station; -1: flood */
  private lookup(hi: number, lo: number): number {
    if (isGroup(hi)) return -1;
    const slot = this.table.find(hi, lo);
    if (slot < 0) return -1;
    this.dstHi = hi;
    this.dstLo = lo;
    this.dstPort = this.table.port[slot];
    return this.dstPort;
  }

  /** The port of the source of a looped frame: a guest that sends past the bridge gets nothing back. */
  private homeOf(hi: number, lo: number, ingress: number): number {
    const slot = this.table.find(hi, lo);
    return slot < 0 ? ingress : this.table.port[slot];
  }

  private flood(id: number, len: number, ingress: number, home: number): void {
    let copies = 0;
    for (let p = 0; p <= this.lastPort; p++) {
      const to = this.ports[p];
      if (p === ingress || p === home || to === null) continue;
      copies++;
      handTo(to, id, len);
    }
    const v = this.counters.v;
    if (copies === 0) v[C.dropNoPort]++;
    else v[C.flooded]++;
    v[C.floodCopies] += copies;
  }

  private forgetLast(): void {
    this.srcPort = -1;
    this.dstPort = -1;
  }
}

interface BridgeEntry {
  mac: string;
  port: number;
  isStatic: boolean;
  ageSeconds: number;
}

/** Which address was seen at which port: open addressing over typed arrays, so that a lookup touches no objects.
 *
 *  An address is the two numbers of a Mac (headers.ts). Static entries come from the toolstack and never move, so a spoofed
 *  source cannot steal a guest's address. */
export class BridgeTable {
  readonly port: Int16Array;
  readonly seenNs: Float64Array;
  /** Learned entries at most: half of the slots, so that probing stays short when somebody invents addresses. */
  readonly maxLearned: number;
  learnedCount = 0;
  private readonly hi: Uint16Array;
  private readonly lo: Int32Array;
  private readonly fixed: Uint8Array;
  private readonly mask: number;

  /** @param size slots, a power of two */
  constructor(size = 4096) {
    this.port = new Int16Array(size).fill(-1);
    this.seenNs = new Float64Array(size);
    this.hi = new Uint16Array(size);
    this.lo = new Int32Array(size);
    this.fixed = new Uint8Array(size);
    this.mask = size - 1;
    this.maxLearned = size >> 1;
  }

  /** @returns the slot of the address, or -1 */
  find(hi: number, lo: number): number {
    let i = this.hash(hi, lo);
    while (this.port[i] >= 0) {
      if (this.lo[i] === lo && this.hi[i] === hi) return i;
      i = (i + 1) & this.mask;
    }
    return -1;
  }

  isStatic(slot: number): boolean {
    return this.fixed[slot] !== 0;
  }

  /** Notes where an address was seen. @returns its slot; -1 when the table is full */
  learn(hi: number, lo: number, port: number, nowNs: number): number {
    const found = this.find(hi, lo);
    if (found >= 0) {
      if (this.fixed[found] === 0) this.port[found] = port;
      this.seenNs[found] = nowNs;
      return found;
    }
    if (this.learnedCount >= this.maxLearned) return -1;
    this.learnedCount++;
    return this.insert(hi, lo, port, nowNs, 0);
  }

  /** An address that belongs to a port for good. @returns its slot */
  setStatic(hi: number, lo: number, port: number): number {
    this.remove(hi, lo);
    return this.insert(hi, lo, port, 0, 1);
  }

  remove(hi: number, lo: number): void {
    const slot = this.find(hi, lo);
    if (slot >= 0) this.removeSlot(slot);
  }

  /** Forgets what was learned before `beforeNs`. @returns how many */
  age(beforeNs: number): number {
    let aged = 0;
    for (let i = 0; i <= this.mask; i++) {
      // Removing closes the gap by moving a later entry here: look at the same slot again.
      while (this.port[i] >= 0 && this.fixed[i] === 0 && this.seenNs[i] < beforeNs) {
        this.removeSlot(i);
        aged++;
      }
    }
    return aged;
  }

  /** Forgets what was learned at a port. */
  forgetPort(port: number): void {
    for (let i = 0; i <= this.mask; i++) while (this.port[i] === port && this.fixed[i] === 0) this.removeSlot(i);
  }

  entries(nowNs: number): BridgeEntry[] {
    const out: BridgeEntry[] = [];
    for (let i = 0; i <= this.mask; i++) {
      if (this.port[i] < 0) continue;
      const isStatic = this.fixed[i] !== 0;
      const ageSeconds = isStatic ? 0 : Math.max(0, (nowNs - this.seenNs[i]) / 1e9);
      out.push({ mac: formatMac({ hi: this.hi[i], lo: this.lo[i] }), port: this.port[i], isStatic, ageSeconds });
    }
    return out;
  }

  private hash(hi: number, lo: number): number {
    const h = Math.imul(lo ^ Math.imul(hi, 0x85ebca6b), 0x9e3779b1);
    return (h ^ (h >>> 15)) & this.mask;
  }

  private insert(hi: number, lo: number, port: number, seenNs: number, fixed: number): number {
    let i = this.hash(hi, lo);
    while (this.port[i] >= 0) i = (i + 1) & this.mask;
    this.hi[i] = hi;
    this.lo[i] = lo;
    this.port[i] = port;
    this.seenNs[i] = seenNs;
    this.fixed[i] = fixed;
    return i;
  }

  /** Backward-shift deletion: no tombstones, so the table does not wear out. */
  private removeSlot(slot: number): void {
    if (this.fixed[slot] === 0) this.learnedCount--;
    let hole = slot;
    let i = slot;
    for (;;) {
      i = (i + 1) & this.mask;
      if (this.port[i] < 0) break;
      const home = this.hash(this.hi[i], this.lo[i]);
      // The entry may fill the hole only if its home does not lie between the hole and itself.
      if (((i - home) & this.mask) < ((i - hole) & this.mask)) continue;
      this.hi[hole] = this.hi[i];
      this.lo[hole] = this.lo[i];
      this.port[hole] = this.port[i];
      this.seenNs[hole] = this.seenNs[i];
      this.fixed[hole] = this.fixed[i];
      hole = i;
    }
    this.port[hole] = -1;
  }
}
