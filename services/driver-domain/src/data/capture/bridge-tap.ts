/** Captures what the bridge brings to a vif: frames in the driver domain's buffers, and frames in another guest's pages.
 *  docs/wire/capture.md. */
import { NETBACK_HEADER_BYTES } from '@grantline/xen';
import { PAGE_SIZE } from '@grantline/base';
import { NETBACK_DROP, NOT_DROPPED, INBOUND, NO_TAP, type FrameTap } from '@grantline/observe';
import type { Buffers } from '../bridge/buffers.js';
import { FOREIGN, FOREIGN_HEADER_BYTES, type ForeignFrames } from '../bridge/foreign-frames.js';

/** The frame was not dropped. */
export const ACCEPTED = -1;

export class BridgeTap {
  /** Where to; replaced at connect. */
  tap: FrameTap = NO_TAP;
  private readonly buffers: Buffers;

  constructor(buffers: Buffers) {
    this.buffers = buffers;
  }

  get on(): boolean {
    return this.tap.on;
  }

  /** @param buffer first buffer of the frame, or number of a foreign one
   *  @param drop slot of the counter in NETBACK_COUNTERS, or ACCEPTED */
  frame(buffer: number, len: number, drop: number): void {
    const { tap } = this;
    tap.begin();
    if (buffer >= FOREIGN) this.foreign(this.buffers.foreign!, buffer - FOREIGN);
    else this.own(buffer, len);
    tap.end(len, INBOUND, drop === ACCEPTED ? NOT_DROPPED : NETBACK_DROP + drop);
  }

  private own(buffer: number, len: number): void {
    const { buffers, tap } = this;
    let left = len;
    for (let b = buffer; b >= 0 && left > 0; b = buffers.next[b]) {
      const part = left < PAGE_SIZE ? left : PAGE_SIZE;
      tap.piece(buffers.offset(b), part);
      left -= part;
    }
  }

  /** Its own header, then its bytes of the packet: of the copied header, and of the sender's pages, which are mapped. */
  private foreign(frames: ForeignFrames, i: number): void {
    const { tap } = this;
    const source = frames.source[i];
    if (source === null) return;
    tap.piece(frames.headersAt + i * FOREIGN_HEADER_BYTES, frames.headerBytes[i]);
    const p = source.packets;
    const packet = frames.packet[i];
    let from = frames.from[i];
    let left = frames.bytes[i];
    const head = p.headBytes[packet];
    if (from < head) {
      const part = Math.min(left, head - from);
      tap.piece(source.headersAt + packet * NETBACK_HEADER_BYTES + from, part);
      from += part;
      left -= part;
    }
    let begins = head;
    for (let s = packet; s >= 0 && left > 0; s = p.next[s]) {
      const into = from - begins;
      begins += p.size[s];
      if (into >= p.size[s]) continue;
      const part = Math.min(left, p.size[s] - into);
      tap.piece(p.at[s] + p.offset[s] + into, part);
      from += part;
      left -= part;
    }
  }
}
