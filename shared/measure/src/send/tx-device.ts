/** What an application sends through: netfront's transmit side, or a NIC queue of one's own (NicSender). Packets are staged
 *  (copied into transmit buffers), then pushed (made visible to the other side), many at a time. */

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
