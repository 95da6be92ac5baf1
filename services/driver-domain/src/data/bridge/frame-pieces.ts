/** Walks the bytes of a frame that the bridge brought, piece by piece, wherever they lie: in our own buffers, or in another
 *  guest's pages (its own header, the copied header of its packet, the slots). A walker is used for frame after frame; the one of
 *  BridgeProbe shows frames to captures. */
import { NETBACK_DROP, NOT_DROPPED, INBOUND, NO_PROBE, type FrameProbe } from '@grantline/observe';
import { NETBACK_HEADER_BYTES } from '@grantline/xen';
import { PAGE_SHIFT, PAGE_SIZE } from '@grantline/base';
import { type Buffers, FOREIGN, FOREIGN_HEADER_BYTES, type TxSource } from './buffers.js';

/** The frame was not dropped. */
export const ACCEPTED = -1;

export class FramePieces {
  /** Of the piece that `take` gave: the guest that granted it, -1: ours; gref, or page of our own; offset in it. */
  domid = -1;
  page = 0;
  offset = 0;
  private readonly buffers: Buffers;
  /** Whose pages the frame lies in; null: it is in our buffers. */
  private source: TxSource | null = null;
  /** Buffer, or index among the foreign frames. */
  private index = 0;
  /** Position in the buffer, or in the packet. */
  private pos = 0;
  // Of a foreign frame: bytes of its own header, and those that are left; the slot of `pos` and that slot's first position.
  private headerBytes = 0;
  private header = 0;
  private packet = 0;
  private slot = 0;
  private slotAt = 0;
  /** Byte offset of the piece. */
  private foreignAt = 0;

  constructor(buffers: Buffers) {
    this.buffers = buffers;
  }

  /** All its pieces are ours, and whole pages but the last. */
  get ours(): boolean {
    return this.source === null;
  }

  /** Byte offset of the piece here. Another guest's page is mapped as long as the frame stands. */
  get at(): number {
    return this.source === null ? this.buffers.offset(this.index) + this.offset : this.foreignAt;
  }

  /** @param id first buffer of the frame, or number of a foreign one; somebody holds it */
  begin(id: number): void {
    if (id < FOREIGN) {
      this.source = null;
      this.domid = -1;
      this.index = id;
      this.pos = 0;
      return;
    }
    this.beginForeign(id - FOREIGN);
  }

  // Apart from `begin`, as `takeForeign` from `take`: small, the usual case goes into its caller's code.
  private beginForeign(i: number): void {
    const frames = this.buffers.foreign!;
    const source = frames.source[i]!;
    this.source = source;
    this.index = i;
    this.pos = frames.from[i];
    this.header = this.headerBytes = frames.headerBytes[i];
    this.slot = this.packet = frames.packet[i];
    this.slotAt = source.packets.headBytes[this.packet];
  }

  /** The next piece, of at most so many bytes. @returns its bytes, at least 1 as long as the frame has so many */
  take(most: number): number {
    if (this.source !== null) return this.takeForeign(this.source, most);
    const { buffers } = this;
    if (this.pos === PAGE_SIZE) {
      this.index = buffers.next[this.index];
      this.pos = 0;
    }
    const { index, pos } = this;
    const rest = PAGE_SIZE - pos;
    const part = most < rest ? most : rest;
    this.page = buffers.firstPfn + index;
    this.offset = pos;
    this.pos = pos + part;
    return part;
  }

  private takeForeign(source: TxSource, most: number): number {
    if (this.header > 0) {
      const frames = this.buffers.foreign!;
      const part = Math.min(most, this.header);
      const done = this.headerBytes - this.header;
      this.copied(frames.headersPfn, frames.headersAt, this.index * FOREIGN_HEADER_BYTES + done);
      this.header -= part;
      return part;
    }
    const p = source.packets;
    const head = p.headBytes[this.packet];
    if (this.pos < head) {
      const part = Math.min(most, head - this.pos);
      this.copied(source.headersPfn, source.headersAt, this.packet * NETBACK_HEADER_BYTES + this.pos);
      this.pos += part;
      return part;
    }
    while (this.pos >= this.slotAt + p.size[this.slot]) {
      this.slotAt += p.size[this.slot];
      this.slot = p.next[this.slot];
    }
    const { slot } = this;
    const into = this.pos - this.slotAt;
    const part = Math.min(most, p.size[slot] - into);
    this.domid = source.domid;
    this.page = p.gref[slot];
    this.offset = p.offset[slot] + into;
    this.foreignAt = p.at[slot] + this.offset;
    this.pos += part;
    return part;
  }

  /** The piece is a header that we hold. @param from its place behind the first page, bytes */
  private copied(firstPfn: number, firstAt: number, from: number): void {
    this.domid = -1;
    this.page = firstPfn + (from >> PAGE_SHIFT);
    this.offset = from & (PAGE_SIZE - 1);
    this.foreignAt = firstAt + from;
  }
}

/** Captures what the bridge brings to a vif: frames in the driver domain's buffers, and frames in another guest's pages.
 *  docs/wire/capture.md. */
export class BridgeProbe {
  /** Where to; replaced at connect. */
  probe: FrameProbe = NO_PROBE;
  private readonly pieces: FramePieces;

  constructor(buffers: Buffers) {
    this.pieces = new FramePieces(buffers);
  }

  get on(): boolean {
    return this.probe.on;
  }

  /** @param buffer first buffer of the frame, or number of a foreign one
   *  @param drop slot of the counter in NETBACK_COUNTERS, or ACCEPTED */
  frame(buffer: number, len: number, drop: number): void {
    const { probe, pieces } = this;
    probe.begin();
    pieces.begin(buffer);
    for (let left = len; left > 0;) {
      const part = pieces.take(left);
      probe.piece(pieces.at, part);
      left -= part;
    }
    probe.end(len, INBOUND, drop === ACCEPTED ? NOT_DROPPED : NETBACK_DROP + drop);
  }
}
