/** What the bridge's frames lie in: the driver domain's own receive buffers, pages of its memory that the NIC's default queue
 *  writes (Buffers), and pages of other guests that packets came from (ForeignFrames).
 *
 *  A frame is named by its first buffer; a frame longer than a page goes on in `next`. Each user of a frame holds a
 *  reference (flooding makes several holders); with the last one the buffers are free to be posted again. Frames in guests'
 *  pages have numbers from FOREIGN on: what a frame's number means is asked here, and where its bytes are of FramePieces. */
import { NETIF_RSP_OKAY } from '@grantline/xen';
import { PAGE_SHIFT, PAGE_SIZE, type DomId } from '@grantline/base';
import type { TxPackets } from '../tx/tx-requests.js';

/** First number of a foreign frame; the driver domain's own buffers are below. */
export const FOREIGN = 0x4000;
/** Frames at a time, of all vifs: three full tx rings of bulk packets. */
export const FOREIGN_FRAMES = 2048;
/** Bytes of our own memory for the header of each, where it is a segment. */
export const FOREIGN_HEADER_BYTES = 128;
export const FOREIGN_PAGES = (FOREIGN_FRAMES * FOREIGN_HEADER_BYTES) / 4096;

/** A vif that packets came in by. */
export interface TxSource {
  readonly domid: DomId;
  readonly packets: TxPackets;
  /** First page, and byte offset, of the copied headers: NETBACK_HEADER_BYTES for each packet. */
  readonly headersPfn: number;
  readonly headersAt: number;
  /** Everybody who was given the packet is done with it. @param status NETIF_RSP_* */
  copied(packet: number, status: number): void;
}

/** Frames that lie in another guest's pages: packets that came in by a vif and leave by another, whole or as segments. They wait
 *  in the receiver's queue like frames in our own buffers, and are copied by grant from page to page (frame-fill.ts).
 *
 *  Their numbers begin at FOREIGN. A packet is a group: when all its frames have been let go of, its sender is told. */
export class ForeignFrames {
  readonly source: (TxSource | null)[] = new Array<TxSource | null>(FOREIGN_FRAMES).fill(null);
  readonly packet = new Int16Array(FOREIGN_FRAMES);
  /** Bytes of a header of its own, at FOREIGN_HEADER_BYTES * index of our pages; 0: none. */
  readonly headerBytes = new Uint8Array(FOREIGN_FRAMES);
  /** Which bytes of the packet it is, behind that header. */
  readonly from = new Uint16Array(FOREIGN_FRAMES);
  readonly bytes = new Uint16Array(FOREIGN_FRAMES);
  /** NETRXF_* of its first slot. */
  readonly flags = new Uint8Array(FOREIGN_FRAMES);
  /** Byte offset and first page of the segments' headers. */
  readonly headersAt: number;
  readonly headersPfn: number;
  /** Payload of each frame of a packet that is passed on uncut, else 0; and how many frames it is, or stands for. */
  readonly mss = new Uint16Array(FOREIGN_FRAMES);
  readonly stoodFor = new Uint8Array(FOREIGN_FRAMES);
  private readonly refs = new Uint16Array(FOREIGN_FRAMES);
  private readonly group = new Int16Array(FOREIGN_FRAMES);
  /** By group (the index of its first frame): frames that are not let go of yet. */
  private readonly left = new Uint16Array(FOREIGN_FRAMES);
  private readonly free = new Int16Array(FOREIGN_FRAMES);
  private freeCount = 0;
  private building = -1;

  constructor(headersAt: number, headersPfn: number) {
    this.headersAt = headersAt;
    this.headersPfn = headersPfn;
    for (let i = FOREIGN_FRAMES - 1; i >= 0; i--) this.free[this.freeCount++] = i;
  }

  /** Frames that may still be made. */
  get room(): number {
    return this.freeCount;
  }

  /** The frames made from now on are a packet's. */
  begin(): void {
    this.building = -1;
  }

  /** Makes a frame; its maker holds it until `release`. The caller has asked `room`. @returns its index */
  make(source: TxSource, packet: number, headerBytes: number, from: number, bytes: number, flags: number): number {
    const i = this.free[--this.freeCount];
    if (this.building < 0) {
      this.building = i;
      this.left[i] = 0;
    }
    this.group[i] = this.building;
    this.left[this.building]++;
    source.packets.lent++;
    this.source[i] = source;
    this.packet[i] = packet;
    this.headerBytes[i] = headerBytes;
    this.from[i] = from;
    this.bytes[i] = bytes;
    this.flags[i] = flags;
    this.mss[i] = 0;
    this.stoodFor[i] = 1;
    this.refs[i] = 1;
    return i;
  }

  /** The frame just made is a packet that its receiver takes uncut. */
  bulk(i: number, mss: number, frames: number): void {
    this.mss[i] = mss;
    this.stoodFor[i] = frames;
  }

  /** Length of a frame. */
  len(i: number): number {
    return this.headerBytes[i] + this.bytes[i];
  }

  retain(i: number): void {
    this.refs[i]++;
  }

  /** One holder less; with the last one of the last frame the packet goes back to its sender. */
  release(i: number): void {
    if (--this.refs[i] > 0) return;
    const group = this.group[i];
    const source = this.source[i]!;
    const packet = this.packet[i];
    // The group's number is its first frame's: that one stays taken until the others are gone.
    if (i !== group) this.give(i);
    if (--this.left[group] > 0) return;
    this.give(group);
    source.copied(packet, NETIF_RSP_OKAY);
  }

  private give(i: number): void {
    this.source[i]!.packets.lent--;
    this.source[i] = null;
    this.free[this.freeCount++] = i;
  }
}

export class Buffers {
  /** How many there are. */
  readonly count: number;
  /** Byte offset of buffer 0 in the address space, and the number of its page; buffer i lies i pages further. */
  readonly base: number;
  readonly firstPfn: number;
  /** The buffer that continues this one's frame, or -1. */
  readonly next: Int16Array;
  /** Buffers that frames hold: neither free nor posted. */
  held = 0;
  /** Frames in guests' pages, which have numbers above ours; null: there are none. */
  foreign: ForeignFrames | null = null;
  private readonly refs: Uint16Array;
  private readonly free: Int16Array;
  private freeCount: number;

  constructor(base: number, firstPfn: number, count: number) {
    this.count = count;
    this.base = base;
    this.firstPfn = firstPfn;
    this.next = new Int16Array(count).fill(-1);
    this.refs = new Uint16Array(count);
    this.free = new Int16Array(count);
    this.freeCount = count;
    // The stack gives the lowest buffer first, so that a dump reads in order.
    for (let i = 0; i < count; i++) this.free[i] = count - 1 - i;
  }

  /** Buffers that may be posted. */
  get available(): number {
    return this.freeCount;
  }

  /** Takes a free buffer for posting. @returns -1 when there is none */
  take(): number {
    return this.freeCount === 0 ? -1 : this.free[--this.freeCount];
  }

  /** Gives back a buffer that was posted and never filled. */
  give(id: number): void {
    this.free[this.freeCount++] = id;
  }

  /** The NIC has filled a buffer: it is held from now on. */
  filled(id: number): void {
    this.held++;
    this.next[id] = -1;
    this.refs[id] = 1;
  }

  /** One more holder of the frame that begins in buffer `id`. */
  retain(id: number): void {
    if (id >= FOREIGN) return this.foreign!.retain(id - FOREIGN);
    this.refs[id]++;
  }

  /** One holder less; the last one frees the frame's buffers. */
  release(id: number): void {
    if (id >= FOREIGN) return this.foreign!.release(id - FOREIGN);
    if (--this.refs[id] > 0) return;
    let b = id;
    while (b >= 0) {
      const following = this.next[b];
      this.next[b] = -1;
      this.refs[b] = 0;
      this.free[this.freeCount++] = b;
      this.held--;
      b = following;
    }
  }

  /** How many frames it is, or stands for. */
  framesOf(id: number): number {
    return id >= FOREIGN ? this.foreign!.stoodFor[id - FOREIGN] : 1;
  }

  /** The guest whose pages it lies in; null: it is in our buffers. */
  sourceOf(id: number): TxSource | null {
    return id >= FOREIGN ? this.foreign!.source[id - FOREIGN] : null;
  }

  /** How many of our buffers it is in. */
  buffersOf(id: number, len: number): number {
    return id >= FOREIGN ? 0 : (len + PAGE_SIZE - 1) >> PAGE_SHIFT;
  }

  /** Payload of each frame of a packet that is passed on uncut, else 0. */
  mssOf(id: number): number {
    return id >= FOREIGN ? this.foreign!.mss[id - FOREIGN] : 0;
  }

  /** NETRXF_* of its first slot, besides those that tell what follows. */
  flagsOf(id: number): number {
    return id >= FOREIGN ? this.foreign!.flags[id - FOREIGN] : 0;
  }

  /** @returns byte offset of a buffer */
  offset(id: number): number {
    return this.base + (id << PAGE_SHIFT);
  }

  describe(): Record<string, number> {
    return {
      count: this.count,
      free: this.freeCount,
      held: this.held,
      posted: this.count - this.freeCount - this.held,
    };
  }
}
