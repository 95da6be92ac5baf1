/** Frames that lie in another guest's pages: packets that came in by a vif and leave by another, whole or as segments. They wait
 *  in the receiver's queue like frames in our own buffers, and are copied by grant from page to page (frame-fill.ts).
 *
 *  Their numbers begin at FOREIGN. A packet is a group: when all its frames have been let go of, its sender is told. */
import { NETIF_RSP_OKAY } from '@grantline/xen';
import type { DomId } from '@grantline/base';
import type { TxPackets } from '../tx/tx-packets.js';

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
  readonly stands = new Uint8Array(FOREIGN_FRAMES);
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
    this.stands[i] = 1;
    this.refs[i] = 1;
    return i;
  }

  /** The frame just made is a packet that its receiver takes uncut. */
  bulk(i: number, mss: number, stands: number): void {
    this.mss[i] = mss;
    this.stands[i] = stands;
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
