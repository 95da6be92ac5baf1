/** What a receive queue feeds, seen from the queue: the network stack (RxStack), or a stand-in of a test. */
export interface RxSink {
  /** Responses that it wants in one go, at most MOST_RX_BATCH; not given: RX_BATCH. */
  readonly batch?: number;
  /** A piece of a frame. @param off byte offset in mem; @param more true when the frame goes on in the next piece
   *  @param info what netback told of the packet, with its first piece: shared/measure/src/receive/rx-batch.ts */
  fragment(off: number, len: number, more: boolean, info?: number): void;
  /** Runs the protocols over all frames of the batch. */
  process(): unknown;
  /** Hands what is for sockets to the application. Afterwards no buffer of the batch is looked at any more. */
  deliver(nowNs: number): unknown;
}

/** Slots of the CPU meter that a queue charges. */
export interface RxComponents {
  /** The queue itself: netfront, or the NIC driver. */
  queue: number;
  stack: number;
  application: number;
}

/** Responses or completions that a queue takes in one go. */
export const RX_BATCH = 64;
/** Most that any sink may ask for. */
export const MOST_RX_BATCH = 192;
