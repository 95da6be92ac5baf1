/** What an application sends through: netfront's transmit side, or a NIC queue of one's own (NicSender). Packets are staged
 *  (copied into transmit buffers), then pushed (made visible to the other side), many at a time. */
import { PAGE_SIZE } from '@grantline/base';
import { ETH_MAX_PACKET } from '@grantline/frames';
import type { Mem } from '@grantline/machine';
import { NOT_DROPPED, NO_PROBE, OUTBOUND, type FrameProbe } from '@grantline/observe';
import type { SendBuffers } from './send-buffers.js';

const MAX_PIECES = Math.ceil(ETH_MAX_PACKET / PAGE_SIZE);

export interface TxDevice {
  /** Longest packet that it takes as a whole; cut by mss on the way when longer than a frame. */
  readonly maxBytes: number;
  /** @returns true when a packet of so many bytes can be staged now */
  room(bytes: number): boolean;
  /** Copies a packet into transmit buffers. The caller has asked `room`.
   *  @param src byte offset in private memory
   *  @param mss 0, or payload bytes of the TCP segments that it is to be cut into; checksums are filled in then
   *  @param csumStart where the TCP or UDP header begins, when the checksum is to be filled in: its field holds the sum of
   *    the pseudo header; else 0
   *  @param headerBytes bytes of all headers; only with mss
   *  @param csumOffset where in that header the checksum stands, 16 (TCP) or 6 (UDP); only without mss
   *  @returns copies made */
  stage(src: number, bytes: number, mss: number, csumStart: number, headerBytes: number, csumOffset?: number): number;
  /** Hands over what was staged. */
  push(): void;
  /** Takes buffers back that the other side is done with. @returns packets that are over */
  reclaim(): number;
  /** Asks to be told when buffers come back, and looks again. @returns true when there are some by now */
  arm(): boolean;
}

/** A device whose buffers somebody else fills: the kernel, reading a packet straight into pages that are granted. */
export interface LendingTxDevice extends TxDevice {
  /** @returns a buffer of PAGE_SIZE, the borrower's from now on; -1: none is free */
  lend(): number;
  /** Byte offset of a buffer. */
  placeOf(id: number): number;
  giveBack(id: number): void;
  /** @returns true when a packet in lent buffers can be staged now */
  roomForLent(): boolean;
  /** Stages a packet that lies in lent buffers, each full but for the last; they are the device's again.
   *  Parameters as of `stage`. */
  stageLent(
    ids: Int32Array,
    bytes: number,
    mss: number,
    csumStart: number,
    headerBytes: number,
    csumOffset: number,
  ): void;
}

/** What both kinds of device do with their buffers. What differs, how a staged packet is handed over, is the kind's own: nothing here
 *  calls it, so nothing is looked up for a frame. */
export class BufferedDevice {
  probe: FrameProbe = NO_PROBE;
  /** Of the packet staged last: buffer and bytes of each piece. */
  protected readonly ids = new Int32Array(MAX_PIECES);
  protected readonly parts = new Int32Array(MAX_PIECES);
  protected readonly buffers: SendBuffers;
  private readonly u8: Uint8Array;

  constructor(mem: Mem, buffers: SendBuffers) {
    this.u8 = mem.u8;
    this.buffers = buffers;
  }

  lend(): number {
    return this.buffers.takePage();
  }

  placeOf(id: number): number {
    return this.buffers.at[id];
  }

  giveBack(id: number): void {
    this.buffers.give(id);
  }

  /** Copies a packet that there is room for into buffers. @returns pieces */
  protected copyIn(src: number, bytes: number): number {
    const { buffers, u8, ids, parts } = this;
    if (this.probe.on) this.probe.frame(src, bytes, OUTBOUND, NOT_DROPPED);
    const end = src + bytes;
    let from = src;
    let n = 0;
    while (from < end) {
      const id = buffers.take(bytes);
      const part = end - from < buffers.size[id] ? end - from : buffers.size[id];
      u8.copyWithin(buffers.at[id], from, from + part);
      from += part;
      ids[n] = id;
      parts[n++] = part;
    }
    return n;
  }

  /** Takes back lent buffers with a packet in them, each full but for the last. @returns pieces */
  protected takeLent(ids: Int32Array, bytes: number): number {
    const { probe } = this;
    if (probe.on) probe.begin();
    let n = 0;
    for (let left = bytes; left > 0; left -= PAGE_SIZE) {
      const part = left < PAGE_SIZE ? left : PAGE_SIZE;
      if (probe.on) probe.piece(this.buffers.at[ids[n]], part);
      this.ids[n] = ids[n];
      this.parts[n++] = part;
    }
    if (probe.on) probe.end(bytes, OUTBOUND, NOT_DROPPED);
    return n;
  }
}
