/** Transmit requests that netback has taken and not yet answered. A request is copied once into these arrays; from then on
 *  only the copy counts, whatever the guest writes into the page. A packet is a chain of them, named by its first one. */
import { NETBACK_HEADER_BYTES } from '@grantline/xen';
import { PAGE_SIZE } from '@grantline/base';

/** As many as the ring has slots (MAX_PENDING_REQS in Linux). */
export const MAX_PENDING = 256;
const PENDING_MASK = MAX_PENDING - 1;
/** Pages for the copied headers of all packets. */
export const HEADER_PAGES = (MAX_PENDING * NETBACK_HEADER_BYTES) / PAGE_SIZE;

export class TxPackets {
  // By slot: the request; what of it lies behind the header; its mapping.
  readonly id = new Uint16Array(MAX_PENDING);
  readonly gref = new Uint32Array(MAX_PENDING);
  readonly offset = new Uint16Array(MAX_PENDING);
  readonly size = new Uint16Array(MAX_PENDING);
  readonly next = new Int16Array(MAX_PENDING);
  /** GNTST_* of what was asked for this slot: 0, or why it failed. */
  readonly status = new Int16Array(MAX_PENDING);
  /** Handle of its own mapping, -1: none (the grant stands, or all of it was copied). */
  readonly handle = new Float64Array(MAX_PENDING).fill(-1);
  readonly at = new Int32Array(MAX_PENDING);
  readonly dpn = new Int32Array(MAX_PENDING);
  /** Which packet the slot is part of. */
  readonly packet = new Int16Array(MAX_PENDING);
  // By packet.
  readonly total = new Uint16Array(MAX_PENDING);
  readonly flags = new Uint16Array(MAX_PENDING);
  readonly mss = new Uint16Array(MAX_PENDING);
  readonly extras = new Uint8Array(MAX_PENDING);
  readonly headBytes = new Uint16Array(MAX_PENDING);
  /** Descriptors that it will need. */
  readonly pieces = new Uint8Array(MAX_PENDING);
  /** Grant operations without a reply. */
  readonly waiting = new Uint8Array(MAX_PENDING);
  /** How many have the packet: the NIC, other vifs together. */
  readonly users = new Uint8Array(MAX_PENDING);
  /** Slots with a mapping of their own. */
  readonly mapped = new Uint8Array(MAX_PENDING);
  readonly result = new Int16Array(MAX_PENDING);
  readonly live = new Uint8Array(MAX_PENDING);
  /** Frames of these packets that other vifs have (foreign-frames.ts). */
  lent = 0;
  private readonly free = new Int16Array(MAX_PENDING);
  private freeCount = 0;

  constructor() {
    for (let i = MAX_PENDING - 1; i >= 0; i--) this.free[this.freeCount++] = i;
  }

  /** Slots that are not taken. */
  get room(): number {
    return this.freeCount;
  }

  /** Takes a slot. The caller has asked `room`. */
  take(): number {
    const s = this.free[--this.freeCount];
    this.next[s] = -1;
    this.status[s] = 0;
    this.handle[s] = -1;
    this.dpn[s] = 0;
    this.mapped[s] = 0;
    this.extras[s] = 0;
    return s;
  }

  give(s: number): void {
    this.live[s] = 0;
    this.free[this.freeCount++] = s;
  }
}

/** Packets of one vif queue, first in, first out. There are never more than MAX_PENDING. */
export class PacketFifo {
  count = 0;
  private readonly ring = new Int16Array(MAX_PENDING);
  private from = 0;

  push(packet: number): void {
    this.ring[(this.from + this.count++) & PENDING_MASK] = packet;
  }

  /** The oldest one. Only while there is one. */
  get first(): number {
    return this.ring[this.from];
  }

  /** Takes the oldest one. */
  shift(): number {
    const packet = this.ring[this.from];
    this.from = (this.from + 1) & PENDING_MASK;
    this.count--;
    return packet;
  }
}
