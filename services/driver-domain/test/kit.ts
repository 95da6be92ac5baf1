/** What the tests of the data path share: memory, a front end, a NIC and a hypervisor, all in one ArrayBuffer. */
import {
  GNTST,
  CTRL_SLOT_BYTES,
  RX_SLOT_BYTES,
  NICQ_COMP_EOP,
  NICQ_COMP_ERROR,
  CTRL_RING_SIZE,
  RX_RING_SIZE,
  DeviceQueue,
  DriverQueue,
  BackRing,
  FrontRing,
  idxAdd,
  ringIdx,
  rxLow,
} from '@grantline/xen';
import { PAGE_SIZE } from '@grantline/base';
import { CounterBlock, type Layout, memOver, type Mem } from '@grantline/machine';
import type { CopyBatch, GrantBatch, GrantCalls, PinBatch, UnpinBatch } from '../src/data/grants/grant-calls.js';

/** Memory cut into pages, given out from the front. */
export class Arena {
  readonly mem: Mem;
  private next = 1;

  constructor(pages: number) {
    this.mem = memOver(new ArrayBuffer(pages * PAGE_SIZE));
  }

  /** @returns byte offset of the first of `count` fresh pages */
  pages(count = 1): number {
    const at = this.next * PAGE_SIZE;
    this.next += count;
    if (this.next * PAGE_SIZE > this.mem.u8.length) throw new RangeError('the arena is too small');
    return at;
  }
}

export function block(layout: Layout): CounterBlock {
  return new CounterBlock(memOver(new ArrayBuffer(4096)), 0, layout);
}

/** Time by hand, and what each component was charged, in laps. */
export class ManualMeter {
  now = 0;
  readonly laps: number[] = [];
  lap(component: number): void {
    this.laps.push(component);
    if (this.laps.length > 1000) this.laps.length = 0;
  }
}

export class Bell {
  rings = 0;
  notify(): void {
    this.rings++;
  }
}

/** A guest's grants, as the hypervisor sees them: gref to page, or to the status that it answers. */
export class FakeHypervisor {
  readonly pages = new Map<number, number>();
  readonly refuses = new Map<number, number>();
  /** Handles that are alive, with the gref of each. */
  readonly pins = new Map<number, number>();
  calls = 0;
  private readonly mem: Mem;
  private readonly ownBase: number;
  private readonly due: (() => void)[] = [];
  private nextHandle = 1;

  /** @param ownBase byte offset of the driver domain's page 0 */
  constructor(mem: Mem, ownBase: number) {
    this.mem = mem;
    this.ownBase = ownBase;
  }

  /** Number that the NIC sees a page of the guest by. */
  static dpn(page: number): number {
    return 0x4000 + page / PAGE_SIZE;
  }

  get waiting(): number {
    return this.due.length;
  }

  /** Executes the oldest call and replies. @returns false when there was none */
  reply(): boolean {
    const call = this.due.shift();
    call?.();
    return call !== undefined;
  }

  replyAll(): void {
    while (this.reply());
  }

  status(gref: number): number {
    return this.refuses.get(gref) ?? (this.pages.has(gref) ? GNTST.okay : GNTST.badGntref);
  }

  readonly grantCalls: GrantCalls = {
    copyBatch: (replied) => new FakeCopies(this, replied),
    pinBatch: (replied) => new FakePins(this, replied),
    unpinBatch: (replied) => new FakeUnpins(this, replied),
  };

  submit(execute: () => void): void {
    this.calls++;
    this.due.push(execute);
  }

  copy(pfn: number, offset: number, gref: number, grefOffset: number, len: number): number {
    const status = this.status(gref);
    if (status !== 0) return status;
    if (offset + len > PAGE_SIZE || grefOffset + len > PAGE_SIZE) return GNTST.badCopyArg;
    const from = this.ownBase + pfn * PAGE_SIZE + offset;
    this.mem.u8.copyWithin(this.pages.get(gref)! + grefOffset, from, from + len);
    return 0;
  }

  pin(gref: number): { status: number; handle: number; dpn: number } {
    const status = this.status(gref);
    if (status !== 0) return { status, handle: -1, dpn: 0 };
    const handle = this.nextHandle++;
    this.pins.set(handle, gref);
    return { status, handle, dpn: FakeHypervisor.dpn(this.pages.get(gref)!) };
  }

  unpin(handle: number): number {
    return this.pins.delete(handle) ? 0 : GNTST.badHandle;
  }
}

abstract class FakeBatch implements GrantBatch {
  protected readonly elements: number[][] = [];
  protected statuses: number[] = [];
  protected readonly xen: FakeHypervisor;
  private readonly replied: () => void;

  constructor(xen: FakeHypervisor, replied: () => void) {
    this.xen = xen;
    this.replied = replied;
  }

  get count(): number {
    return this.elements.length;
  }

  clear(): void {
    this.elements.length = 0;
    this.statuses = [];
  }

  send(): void {
    if (this.count === 0 || this.count > 64) throw new Error(`a batch of ${this.count}`);
    this.xen.submit(() => {
      this.statuses = this.elements.map((e) => this.execute(e));
      this.replied();
    });
  }

  status(i: number): number {
    return this.statuses[i];
  }

  protected abstract execute(element: number[]): number;
}

class FakeCopies extends FakeBatch implements CopyBatch {
  putFrom(): void {
    throw new Error('no other guest');
  }
  put(...element: [number, number, number, number, number]): void {
    this.elements.push(element);
  }
  protected execute([pfn, offset, gref, grefOffset, len]: number[]): number {
    return this.xen.copy(pfn, offset, gref, grefOffset, len);
  }
}

class FakePins extends FakeBatch implements PinBatch {
  put(gref: number): void {
    this.elements.push([gref, -1, 0]);
  }
  handle(i: number): number {
    return this.elements[i][1];
  }
  dpn(i: number): number {
    return this.elements[i][2];
  }
  protected execute(element: number[]): number {
    const { status, handle, dpn } = this.xen.pin(element[0]);
    element[1] = handle;
    element[2] = dpn;
    return status;
  }
}

class FakeUnpins extends FakeBatch implements UnpinBatch {
  put(handle: number, dpn: number): void {
    this.elements.push([handle, dpn]);
  }
  protected execute([handle]: number[]): number {
    return this.xen.unpin(handle);
  }
}

/** One response as the guest reads it. */
export interface Response {
  id: number;
  offset: number;
  flags: number;
  status: number;
}

/** The guest's end of an rx ring. */
export class MockFront {
  readonly ring: FrontRing;
  private readonly mem: Mem;
  private nextId = 0;
  /** Requests without a response, oldest first. */
  readonly posted: { id: number; gref: number; offset: number }[] = [];

  constructor(mem: Mem, base: number, start = 0) {
    this.mem = mem;
    this.ring = new FrontRing(mem, base, RX_RING_SIZE, RX_SLOT_BYTES, ringIdx(start));
  }

  back(): BackRing {
    return new BackRing(this.mem, this.ring.base, RX_RING_SIZE, RX_SLOT_BYTES);
  }

  /** Posts a buffer. @returns false when the ring is full */
  post(gref: number, offset = 0): boolean {
    if (this.ring.free() === 0) return false;
    const at = this.ring.slot(this.ring.reqProdPvt) >> 2;
    const id = this.nextId++ & 0xffff;
    this.mem.u32[at] = rxLow(id, offset);
    this.mem.u32[at + 1] = gref;
    this.ring.reqProdPvt = idxAdd(this.ring.reqProdPvt, 1);
    this.posted.push({ id, gref, offset });
    this.ring.push();
    return true;
  }

  /** Takes all responses. @throws Error when one is not for the oldest request */
  take(): (Response & { gref: number })[] {
    const n = this.ring.unconsumed();
    if (n < 0) throw new Error('the back end claims more than was asked for');
    const out: (Response & { gref: number })[] = [];
    for (let i = 0; i < n; i++) {
      const at = this.ring.slot(this.ring.rspCons) >> 1;
      const asked = this.posted.shift()!;
      const id = this.mem.u16[at];
      if (id !== asked.id) throw new Error(`response ${id} stands in the slot of request ${asked.id}`);
      out.push({
        id,
        offset: this.mem.u16[at + 1],
        flags: this.mem.u16[at + 2],
        status: this.mem.i16[at + 3],
        gref: asked.gref,
      });
      this.ring.rspCons = idxAdd(this.ring.rspCons, 1);
    }
    this.ring.arm();
    return out;
  }
}

/** A NIC behind one queue: writes frames into posted buffers, as far as its table allows. */
export class MockNic {
  readonly queue: DriverQueue;
  readonly device: DeviceQueue;
  /** Pages that it may write, by number. */
  readonly table = new Map<number, number>();
  private readonly mem: Mem;

  constructor(mem: Mem, base: number) {
    this.mem = mem;
    this.queue = new DriverQueue(mem, base);
    this.device = new DeviceQueue(mem, base, base + PAGE_SIZE, base + 2 * PAGE_SIZE);
  }

  /** Delivers a frame, scattered as need be; refused buffers go back with an error. @returns false: not enough buffers */
  receive(frame: Uint8Array, flags = 0): boolean {
    for (;;) {
      const chain: { at: number; len: number }[] = [];
      let room = 0;
      let refused = false;
      while (room < frame.length && !refused) {
        if (this.device.available() <= chain.length) return false;
        const at = this.device.entry(chain.length);
        const page = this.table.get(this.mem.u32[at >> 2]);
        const len = this.mem.u16[(at + 6) >> 1];
        if (page === undefined) refused = true;
        chain.push({ at: (page ?? 0) + this.mem.u16[(at + 4) >> 1], len });
        room += len;
      }
      if (refused) {
        for (let i = 0; i < chain.length; i++) this.device.complete(0, NICQ_COMP_ERROR);
        continue;
      }
      let from = 0;
      chain.forEach(({ at, len }, i) => {
        const part = frame.subarray(from, from + len);
        this.mem.u8.set(part, at);
        from += len;
        this.device.complete(part.length, i === chain.length - 1 ? NICQ_COMP_EOP | flags : 0);
      });
      return true;
    }
  }

  publish(): boolean {
    return this.device.publish();
  }
}

/** A frame whose bytes tell its number. */
export function frameOf(n: number, len: number, dst = [2, 0, 0, 0, 0, 1], src = [2, 0, 0, 0, 0, 9]): Uint8Array {
  const frame = new Uint8Array(len);
  for (let i = 0; i < len; i++) frame[i] = (n * 31 + i * 7 + (i >> 8)) & 255;
  frame.set(dst, 0);
  frame.set(src, 6);
  return frame;
}

export { CTRL_RING_SIZE, CTRL_SLOT_BYTES };

/** Memory that counts how often each byte of a range is read through it. For a peer that writes whenever it likes it matters that
 *  what was judged is what is used: no byte of a slot is read twice. */
export function readsOf(mem: Mem, from: number, bytes: number): { mem: Mem; most: () => number; least: () => number } {
  const reads = new Uint8Array(bytes);
  const count = (at: number, n: number): void => {
    for (let b = Math.max(at, from); b < Math.min(at + n, from + bytes); b++) reads[b - from]++;
  };
  const watch = <A extends Uint8Array | Uint16Array | Int16Array | Uint32Array | Int32Array>(array: A): A => {
    const size = array.BYTES_PER_ELEMENT;
    return new Proxy(array, {
      get(target, key) {
        if (typeof key === 'string' && /^\d+$/.test(key)) {
          count(Number(key) * size, size);
          return target[Number(key)];
        }
        if (key === 'slice')
          return (a: number, b: number) => {
            count(a * size, (b - a) * size);
            return target.slice(a, b);
          };
        const value: unknown = Reflect.get(target, key, target);
        return typeof value === 'function' ? (value.bind(target) as unknown) : value;
      },
      set: (target, key, value: number) => Reflect.set(target, key, value),
    });
  };
  const { u8, u16, i16, u32, i32 } = mem;
  return {
    mem: { ...mem, u8: watch(u8), u16: watch(u16), i16: watch(i16), u32: watch(u32), i32: watch(i32) },
    most: () => Math.max(...reads),
    least: () => Math.min(...reads),
  };
}
