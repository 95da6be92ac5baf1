/** A NIC over plain memory, with a DMA table, domains and drivers, for the tests. Not a test itself. */
import {
  DMA_CONTEXT,
  DMA_ENTRY_BYTES,
  DMA_FLAGS,
  DMA_OWNER,
  dmaOwner,
  DMA_PFN,
  DMA_TABLE_BYTES,
  DMA_VALID,
  DMA_WRITE,
  NICQ_COMP_EOP,
  NICQ_COMP_ERROR,
  NICQ_COMP_INFO,
  NICQ_COMP_PACKET,
  NICQ_PAGES,
  DriverQueue,
  compFlags,
  compLen,
} from '@grantline/xen';
import { PAGE_SIZE, type DomId } from '@grantline/base';
import { CounterBlock, type Layout, memOver, type Mem } from '@grantline/machine';
import { CABLE_COUNTERS, NIC_COUNTERS, NIC_QUEUE_COUNTERS } from '@grantline/observe';
import { Cable, type CableMeter } from '../src/far-end/data/cable.js';
import { BurstGuard, DmaReader } from '../src/hardware/data/dma.js';
import { Nic } from '../src/hardware/data/nic.js';
import { NicRxQueue } from '../src/hardware/data/rx-queue.js';

/** Pages of each domain in the kit. */
export const DOMAIN_PAGES = 1024;
const DOMAINS = 4;
const PRIVATE_BYTES = 8 << 20;

/** Time that stands still until told. */
export class TestLaps implements CableMeter {
  now = 1e12;
  laps = 0;
  lapShared(): void {
    this.laps++;
  }
}

export interface Frame {
  bytes: number[];
  flags: number;
  /** Of a packet that stands for several frames. */
  packet?: { frames: number; mss: number };
}

export class Kit {
  readonly mem: Mem;
  readonly dma: DmaReader;
  readonly guard: BurstGuard;
  readonly nic: Nic;
  readonly cable: Cable;
  readonly laps = new TestLaps();
  /** Byte offset of private memory for frames. */
  readonly frames: number;
  private readonly bases = new Map<number, number>();
  private readonly table: number;
  private next: number;
  private nextDpn = 1;

  constructor() {
    this.mem = memOver(
      new ArrayBuffer(PAGE_SIZE * 20 + DMA_TABLE_BYTES + DOMAINS * DOMAIN_PAGES * PAGE_SIZE + PRIVATE_BYTES),
    );
    this.next = PAGE_SIZE;
    this.table = this.take(DMA_TABLE_BYTES);
    this.dma = new DmaReader(this.mem, this.table);
    this.guard = new BurstGuard(this.mem, this.take(PAGE_SIZE));
    for (const domid of [1, 2, 3, 1000]) {
      const base = this.take(DOMAIN_PAGES * PAGE_SIZE);
      this.bases.set(domid, base);
      this.dma.addDomain(domid as DomId, 0, base, DOMAIN_PAGES);
    }
    this.frames = this.take(PRIVATE_BYTES);
    this.nic = new Nic(this.mem, this.guard, this.block(NIC_COUNTERS));
    this.cable = new Cable(this.nic, this.laps, this.block(CABLE_COUNTERS));
  }

  /** Byte offset of a page. */
  page(domid: number, pfn: number): number {
    return this.bases.get(domid)! + pfn * PAGE_SIZE;
  }

  /** Makes a table entry. @returns its number */
  map(context: number, owner: number, pfn: number, flags = DMA_VALID | DMA_WRITE, generation = 0): number {
    const dpn = this.nextDpn++;
    const at = this.table + dpn * DMA_ENTRY_BYTES;
    this.mem.u32[(at + DMA_FLAGS) >> 2] = flags;
    this.mem.u32[(at + DMA_CONTEXT) >> 2] = context;
    this.mem.u32[(at + DMA_OWNER) >> 2] = dmaOwner(owner, generation);
    this.mem.u32[(at + DMA_PFN) >> 2] = pfn;
    return dpn;
  }

  unmap(dpn: number): void {
    this.mem.u32[(this.table + dpn * DMA_ENTRY_BYTES + DMA_FLAGS) >> 2] = 0;
  }

  block(layout: Layout): CounterBlock {
    return new CounterBlock(memOver(new ArrayBuffer(1024)), 0, layout);
  }

  /** A queue and its driver. Pages 0 to 2 of the context's memory (from `pfn`) are the queue's. @param packetBytes that it takes uncut */
  queue(context: number, target: number, pfn = 0, moderationFrames = 1, moderationUs = 0, packetBytes = 0): TestQueue {
    const dpns = Array.from({ length: NICQ_PAGES }, (_, i) => this.map(context, context, pfn + i));
    const driver = new DriverQueue(this.mem, this.page(context, pfn));
    const [headerDpn, availDpn, compDpn] = dpns as [number, number, number];
    const moderation = { moderationFrames, moderationUs };
    const settings = { name: 'q', context, target, headerDpn, availDpn, compDpn, ...moderation, packetBytes };
    const rings = { count: 0 };
    const channel = { notify: () => void rings.count++ };
    const { mem, dma, guard } = this;
    const queue = new NicRxQueue({ mem, dma, guard, settings, channel, counters: this.block(NIC_QUEUE_COUNTERS) });
    return new TestQueue(this, queue, driver, dpns, rings, this.page(context, pfn));
  }

  /** Writes a frame into private memory. @returns its byte offset */
  frame(mac: number, len: number, fill = 7, at = this.frames): number {
    this.mem.u8.fill(fill, at, at + len);
    for (let i = 0; i < 6; i++) this.mem.u8[at + i] = Math.floor(mac / 2 ** (40 - 8 * i)) % 256;
    return at;
  }

  /** One burst with one frame. @returns the status */
  receive(off: number, len: number): number {
    this.guard.begin(this.laps.now);
    const status = this.nic.receive(off, len);
    this.nic.endBurst();
    this.guard.end();
    this.nic.moderate(false);
    return status;
  }

  /** One burst with one packet that stands for several frames. @returns the status */
  receivePacket(off: number, len: number, header: number, mss: number, frames: number): number {
    this.guard.begin(this.laps.now);
    const status = this.nic.receivePacket(off, len, header, mss, frames);
    this.nic.endBurst();
    this.guard.end();
    this.nic.moderate(false);
    return status;
  }

  private take(bytes: number): number {
    const at = this.next;
    this.next += Math.ceil(bytes / 64) * 64;
    return at;
  }
}

export class TestQueue {
  readonly queue: NicRxQueue;
  readonly driver: DriverQueue;
  readonly dpns: number[];
  readonly rings: { count: number };
  /** Byte offset of the header page. */
  readonly header: number;
  private readonly kit: Kit;
  private readonly pages = new Map<number, number>();
  private readonly posted: { at: number; len: number }[] = [];

  constructor(
    kit: Kit,
    queue: NicRxQueue,
    driver: DriverQueue,
    dpns: number[],
    rings: { count: number },
    header: number,
  ) {
    this.kit = kit;
    this.queue = queue;
    this.driver = driver;
    this.dpns = dpns;
    this.rings = rings;
    this.header = header;
  }

  get counters(): Record<string, number> {
    this.queue.counters.commit();
    return this.queue.counters.read();
  }

  /** Posts a buffer; `at` is where its data is expected. */
  post(dpn: number, offset: number, len: number, at: number): void {
    this.driver.post(dpn, offset, len);
    this.driver.publish();
    this.posted.push({ at, len });
  }

  /** Posts n full pages of the target, from `pfn` on. A page keeps its table entry from call to call. */
  postPages(n: number, pfn = 16): void {
    const { context, target } = this.queue.settings;
    for (let i = pfn; i < pfn + n; i++) {
      const dpn = this.pages.get(i) ?? this.kit.map(context, target, i);
      this.pages.set(i, dpn);
      this.post(dpn, 0, PAGE_SIZE, this.kit.page(target, i));
    }
  }

  /** Takes all completions and posts their buffers again, without looking at the frames. @returns how many */
  recycle(): number {
    const n = this.driver.completed();
    this.driver.consume(n);
    this.posted.splice(0, n);
    this.postPages(n);
    return n;
  }

  /** Takes all completions. @returns whole frames; `errors` counts refused buffers */
  take(): { frames: Frame[]; errors: number } {
    const { mem } = this.kit;
    const frames: Frame[] = [];
    let errors = 0;
    let bytes: number[] = [];
    let packet: Frame['packet'];
    const n = this.driver.completed();
    for (let i = 0; i < n; i++) {
      const comp = this.driver.completion(i);
      const len = compLen(comp);
      const flags = compFlags(comp);
      const buffer = this.posted.shift()!;
      if ((flags & NICQ_COMP_ERROR) !== 0) {
        errors++;
        if (bytes.length > 0 || len !== 0) throw new Error('an error inside a frame, or with data');
        continue;
      }
      if ((flags & NICQ_COMP_INFO) !== 0) {
        if (packet?.mss !== 0) throw new Error('info that does not stand behind the first buffer of a packet');
        packet.mss = len;
        continue;
      }
      if (packet?.mss === 0) throw new Error('a packet without its info');
      if ((flags & NICQ_COMP_PACKET) !== 0) packet = { frames: this.driver.frames(i), mss: 0 };
      if (len > buffer.len) throw new Error(`${len} bytes in a buffer of ${buffer.len}`);
      bytes.push(...mem.u8.subarray(buffer.at, buffer.at + len));
      if ((flags & NICQ_COMP_EOP) === 0) continue;
      frames.push(packet === undefined ? { bytes, flags } : { bytes, flags, packet });
      bytes = [];
      packet = undefined;
    }
    this.driver.consume(n);
    if (bytes.length > 0) throw new Error('a frame without an end');
    return { frames, errors };
  }
}

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
