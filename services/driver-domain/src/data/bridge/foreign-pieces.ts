/** Walks the bytes of a frame that lies in another guest's pages: its own header, the copied header of its packet, the slots. */
import { NETBACK_HEADER_BYTES } from '@grantline/xen';
import { PAGE_SHIFT, PAGE_SIZE } from '@grantline/base';
import { FOREIGN_HEADER_BYTES, type ForeignFrames, type TxSource } from './foreign-frames.js';

export class ForeignPieces {
  /** Of the piece that `take` gave: the guest that granted it, -1: ours; gref, or page of our own; offset in it. */
  domid = -1;
  page = 0;
  offset = 0;
  private frames: ForeignFrames | null = null;
  private source: TxSource | null = null;
  private index = 0;
  private packet = 0;
  /** Bytes of the frame's own header that are left. */
  private header = 0;
  private headerBytes = 0;
  /** Position in the packet, and the slot that it lies in with that slot's first position; -1: still in the copied header. */
  private at = 0;
  private slot = -1;
  private slotAt = 0;

  begin(frames: ForeignFrames, i: number): void {
    this.frames = frames;
    this.source = frames.source[i]!;
    this.index = i;
    this.packet = frames.packet[i];
    this.header = this.headerBytes = frames.headerBytes[i];
    this.at = frames.from[i];
    this.slot = this.packet;
    this.slotAt = this.source.packets.headBytes[this.packet];
  }

  /** The next piece, of at most so many bytes. @returns its bytes, at least 1 as long as the frame has so many */
  take(most: number): number {
    if (this.header > 0) {
      const done = this.headerBytes - this.header;
      const part = Math.min(most, this.header);
      this.own(this.frames!.headersPfn, this.index * FOREIGN_HEADER_BYTES + done);
      this.header -= part;
      return part;
    }
    const p = this.source!.packets;
    const head = p.headBytes[this.packet];
    if (this.at < head) {
      const part = Math.min(most, head - this.at);
      this.own(this.source!.headersPfn, this.packet * NETBACK_HEADER_BYTES + this.at);
      this.at += part;
      return part;
    }
    while (this.at >= this.slotAt + p.size[this.slot]) {
      this.slotAt += p.size[this.slot];
      this.slot = p.next[this.slot];
    }
    const into = this.at - this.slotAt;
    const part = Math.min(most, p.size[this.slot] - into);
    this.domid = this.source!.domid;
    this.page = p.gref[this.slot];
    this.offset = p.offset[this.slot] + into;
    this.at += part;
    return part;
  }

  private own(pfn: number, at: number): void {
    this.domid = -1;
    this.page = pfn + (at >> PAGE_SHIFT);
    this.offset = at & (PAGE_SIZE - 1);
  }
}
