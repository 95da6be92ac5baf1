/** The packet that a transmit queue is at: its descriptors, each read once, where its pages are, and the transfer of it. */
import {
  NICTX_COMP_BAD,
  NICTX_COMP_REFUSED,
  NICTX_COMP_SENT,
  NICTX_EOP,
  NICTX_MAX_CHAIN,
  orderFlags,
  spanLen,
  spanOffset,
  type TxDeviceQueue,
} from '@grantline/xen';
import { PAGE_SIZE } from '@grantline/base';
import { ETH_BYTES, ETH_MAX_PACKET, ETH_MIN_FRAME } from '@grantline/frames';
import type { Mem } from '@grantline/machine';
import type { DmaReader } from './dma.js';
import type { PacketMemory } from './packet-memory.js';
import type { QueueSettings } from './queue-types.js';

export class TxGather {
  /** Descriptors, bytes, and NICTX_COMP_*: whether the packet may be read at all. */
  chain = 0;
  bytes = 0;
  status = NICTX_COMP_SENT;
  /** Words of the first descriptor: flags and mss; where the checksum begins and the bytes of all headers. */
  order = 0;
  headers = 0;
  private readonly mem: Mem;
  private readonly ring: TxDeviceQueue;
  private readonly dma: DmaReader;
  private readonly settings: QueueSettings;
  private readonly places = new Int32Array(NICTX_MAX_CHAIN);
  private readonly sizes = new Int32Array(NICTX_MAX_CHAIN);

  constructor(mem: Mem, ring: TxDeviceQueue, dma: DmaReader, settings: QueueSettings) {
    this.mem = mem;
    this.ring = ring;
    this.dma = dma;
    this.settings = settings;
  }

  /** Reads the descriptors of the next packet. Inside a burst only. @param left descriptors that there are
   *  @returns false when the driver published half a packet, or one that has no end */
  next(left: number): boolean {
    const { mem, ring, dma, settings } = this;
    this.status = NICTX_COMP_SENT;
    this.bytes = 0;
    let n = 0;
    for (let last = false; !last; n++) {
      if (n === left || n === NICTX_MAX_CHAIN) return false;
      const at = ring.entry(n);
      const span = mem.u32[at + 1];
      const offset = spanOffset(span);
      const len = spanLen(span);
      const order = mem.u32[at + 2];
      last = (orderFlags(order) & NICTX_EOP) !== 0;
      if (n === 0) {
        this.order = order;
        this.headers = mem.u32[at + 3];
      }
      this.bytes += len;
      this.sizes[n] = len;
      if (len === 0 || offset + len > PAGE_SIZE) this.status = NICTX_COMP_BAD;
      if (this.status !== NICTX_COMP_SENT) continue;
      const page = dma.lookupRead(mem.u32[at], settings.context, settings.target);
      if (page < 0) this.status = NICTX_COMP_REFUSED;
      this.places[n] = page + offset;
    }
    this.chain = n;
    if (this.bytes < ETH_BYTES || this.bytes > ETH_MAX_PACKET) this.status = NICTX_COMP_BAD;
    return true;
  }

  /** As if it had not been read. */
  unread(memory: PacketMemory): void {
    memory.giveBack(Math.max(this.bytes, ETH_MIN_FRAME));
  }

  /** The transfer: all pieces into packet memory. @returns where the packet lies now */
  read(memory: PacketMemory): number {
    const { bulk } = this.mem;
    const at = memory.packet(Math.max(this.bytes, ETH_MIN_FRAME));
    let to = at;
    for (let i = 0; i < this.chain; i++) {
      const from = this.places[i];
      bulk.copy(to, from, this.sizes[i]);
      to += this.sizes[i];
    }
    return at;
  }
}
