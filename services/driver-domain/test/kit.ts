/** What the tests of the data path share: memory, a front end, a NIC and a hypervisor, all in one ArrayBuffer. */
import {
  COPY_BYTES,
  COPY_DST_OFFSET,
  COPY_DST_REF,
  COPY_FLAGS,
  COPY_LEN,
  COPY_SRC_OFFSET,
  COPY_SRC_REF,
  GNTCOPY_DEST_GREF,
  GNTCOPY_SOURCE_GREF,
  GNTST,
  GNTTABOP_COPY,
  GNTTABOP_MAP,
  GNTTABOP_UNMAP,
  HYPERCALL_HEADER_BYTES,
  MAP_BYTES,
  MAP_REF,
  MAP_RES_BYTES,
  MAP_RES_DPN,
  MAP_RES_HANDLE,
  MAP_RES_PFN,
  STATUS_RES_BYTES,
  UNMAP_BYTES,
  UNMAP_HANDLE,
  UNMAP_HOST_ADDR,
  type Call,
  type HypercallPort,
  answerByMessage,
  callMessage,
  CTRL_SLOT_BYTES,
  RX_SLOT_BYTES,
  NICQ_COMP_EOP,
  NICQ_COMP_ERROR,
  NICQ_COMP_INFO,
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
import { PAGE_SIZE, type DomId } from '@grantline/base';
import { CounterBlock, type Layout, memOver, type Mem } from '@grantline/machine';
import type { Granter } from '../src/data/grants/batch-turns.js';

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

const KINDS: Record<number, { kind: 'map' | 'unmap' | 'copy'; elementBytes: number; resultBytes: number }> = {
  [GNTTABOP_MAP]: { kind: 'map', elementBytes: MAP_BYTES, resultBytes: MAP_RES_BYTES },
  [GNTTABOP_UNMAP]: { kind: 'unmap', elementBytes: UNMAP_BYTES, resultBytes: STATUS_RES_BYTES },
  [GNTTABOP_COPY]: { kind: 'copy', elementBytes: COPY_BYTES, resultBytes: STATUS_RES_BYTES },
};

/** A guest's grants, as the hypervisor sees them: gref to page, or to the status that it answers. Calls wait until they are
 *  to be replied to. */
export class FakeHypervisor implements HypercallPort {
  readonly pages = new Map<number, number>();
  readonly refuses = new Map<number, number>();
  /** Grefs whose pins are undone, and the answer says that it failed. */
  readonly badUnpins = new Set<number>();
  /** Handles that are alive, with the gref of each. */
  readonly pins = new Map<number, number>();
  /** Window slots that hold a page now: address to page. */
  readonly mapped = new Map<number, number>();
  /** What was asked, in order. */
  readonly hypercalls: { kind: string; count: number }[] = [];
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

  /** The guest, as netback is told of it. */
  get granter(): Granter {
    return { port: this, self: 0 as DomId, domid: 1 as DomId };
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

  /** @returns calls */
  replyAll(): number {
    let n = 0;
    while (this.reply()) n++;
    return n;
  }

  status(gref: number): number {
    return this.refuses.get(gref) ?? (this.pages.has(gref) ? GNTST.okay : GNTST.badGntref);
  }

  hypercall(call: Call): void {
    const bytes = callMessage(call, 0);
    const { cmd, count } = call;
    const { kind, elementBytes, resultBytes } = KINDS[cmd];
    this.hypercalls.push({ kind, count });
    this.due.push(() => {
      const reply = Buffer.alloc(HYPERCALL_HEADER_BYTES + count * resultBytes);
      reply.writeUInt16LE(count, 6);
      for (let i = 0; i < count; i++) {
        const element = bytes.subarray(HYPERCALL_HEADER_BYTES + i * elementBytes);
        const result = reply.subarray(HYPERCALL_HEADER_BYTES + i * resultBytes);
        if (kind === 'copy') result.writeInt16LE(this.copy(element));
        else if (kind === 'map') this.map(element, result);
        else result.writeInt16LE(this.unmap(element));
      }
      answerByMessage(call, reply);
    });
  }

  unpin(handle: number): number {
    return this.pins.delete(handle) ? 0 : GNTST.badHandle;
  }

  /** Between a granted page and one of the driver domain's own. */
  private copy(e: Buffer): number {
    const from = { page: e.readUInt32LE(COPY_SRC_REF), offset: e.readUInt16LE(COPY_SRC_OFFSET) };
    const to = { page: e.readUInt32LE(COPY_DST_REF), offset: e.readUInt16LE(COPY_DST_OFFSET) };
    const flags = e.readUInt16LE(COPY_FLAGS);
    const [guests, ours] = flags === GNTCOPY_SOURCE_GREF ? [from, to] : [to, from];
    if (flags !== GNTCOPY_SOURCE_GREF && flags !== GNTCOPY_DEST_GREF) throw new Error('no other guest');
    const len = e.readUInt16LE(COPY_LEN);
    const status = this.status(guests.page);
    if (status !== 0) return status;
    if (from.offset + len > PAGE_SIZE || to.offset + len > PAGE_SIZE) return GNTST.badCopyArg;
    const granted = this.pages.get(guests.page)! + guests.offset;
    const own = this.ownBase + ours.page * PAGE_SIZE + ours.offset;
    if (guests === from) this.mem.u8.copyWithin(own, granted, granted + len);
    else this.mem.u8.copyWithin(granted, own, own + len);
    return 0;
  }

  private map(e: Buffer, result: Buffer): void {
    const gref = e.readUInt32LE(MAP_REF);
    const status = this.status(gref);
    result.writeInt16LE(status);
    if (status !== 0) return;
    const handle = this.nextHandle++;
    this.pins.set(handle, gref);
    result.writeUInt32LE(handle, MAP_RES_HANDLE);
    result.writeUInt32LE(this.pages.get(gref)! / PAGE_SIZE, MAP_RES_PFN);
    result.writeUInt32LE(FakeHypervisor.dpn(this.pages.get(gref)!), MAP_RES_DPN);
  }

  private unmap(e: Buffer): number {
    // The page must be out of sight before the hypervisor hears of it.
    if (this.mapped.has(e.readUInt32LE(UNMAP_HOST_ADDR))) throw new Error('unmapped while still mapped here');
    const handle = e.readUInt32LE(UNMAP_HANDLE);
    const isBad = this.badUnpins.has(this.pins.get(handle) ?? -1);
    const status = this.unpin(handle);
    return isBad ? GNTST.generalError : status;
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
  private last: Response | undefined;
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
      // Extra info stands where an id does otherwise.
      const isInfo = ((out.at(-1) ?? this.last)?.flags ?? 0) & 8;
      if (id !== asked.id && !isInfo) throw new Error(`response ${id} stands in the slot of request ${asked.id}`);
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
    this.last = out.at(-1) ?? this.last;
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

  /** @param start first index of its queue */
  constructor(mem: Mem, base: number, start = 0) {
    this.mem = mem;
    this.queue = new DriverQueue(mem, base, ringIdx(start));
    this.device = new DeviceQueue(mem, base, base + PAGE_SIZE, base + 2 * PAGE_SIZE, ringIdx(start));
  }

  /** Delivers a frame, scattered as need be; refused buffers go back with an error.
   *  @param packet not null: it is a packet that stands for so many frames, with that mss; the second buffer tells so
   *  @returns false: not enough buffers, or one for a packet */
  receive(frame: Uint8Array, flags = 0, packet: { frames: number; mss: number } | null = null): boolean {
    for (;;) {
      const chain: { at: number; len: number }[] = [];
      let room = 0;
      let refused = false;
      while (room < frame.length && !refused) {
        const info = packet !== null && chain.length > 0 ? 1 : 0;
        if (this.device.available() <= chain.length + info) return false;
        const at = this.device.entry(chain.length + info);
        const page = this.table.get(this.mem.u32[at >> 2]);
        const len = this.mem.u16[(at + 6) >> 1];
        if (page === undefined) refused = true;
        chain.push({ at: (page ?? 0) + this.mem.u16[(at + 4) >> 1], len });
        room += len;
      }
      if (refused) {
        const info = packet !== null && chain.length > 1 ? 1 : 0;
        for (let i = 0; i < chain.length + info; i++) this.device.complete(0, NICQ_COMP_ERROR);
        continue;
      }
      if (packet !== null && chain.length === 1) return false;
      let from = 0;
      chain.forEach(({ at, len }, i) => {
        const part = frame.subarray(from, from + len);
        this.mem.u8.set(part, at);
        from += len;
        if (packet !== null && i === 0) {
          this.device.completePacket(part.length, 0, packet.frames);
          this.device.complete(packet.mss, NICQ_COMP_INFO);
        } else this.device.complete(part.length, i === chain.length - 1 ? NICQ_COMP_EOP | flags : 0);
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
