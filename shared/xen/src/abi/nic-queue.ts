/** NIC receive queue: three pages in the memory of the domain that drives the queue. See docs/wire/nic-queue.md.
 *
 *  header page, u32 words on cache lines of their own:
 *     0 avail_prod   driver: buffers posted            64 avail_event  NIC: "notify when avail_prod passes this"
 *   128 comp_prod    NIC: buffers completed           192 comp_event   driver: "notify when comp_prod passes this"
 *  avail page: 512 entries   | dpn u32 | offset u16 | len u16 |
 *  comp page:  512 entries   | len u16 | flags u16  | frames u32 |   frames: with NICQ_COMP_PACKET only
 *
 *  Completions come in the order of the posted buffers: completion i belongs to buffer i. */
export const NICQ_AVAIL_PROD = 0;
export const NICQ_AVAIL_EVENT = 64;
export const NICQ_COMP_PROD = 128;
export const NICQ_COMP_EVENT = 192;
export const NICQ_SIZE = 512;
export const NICQ_ENTRY_BYTES = 8;
export const NICQ_PAGES = 3;

/** Words of an avail entry: dpn, span. Those of a transmit descriptor begin with the same two. */
export const nicSpan = (offset: number, len: number): number => offset | (len << 16);
export const spanOffset = (span: number): number => span & 0xffff;
export const spanLen = (span: number): number => span >>> 16;
/** First word of a completion. */
export const nicComp = (len: number, flags: number): number => len | (flags << 16);
export const compLen = (comp: number): number => comp & 0xffff;
export const compFlags = (comp: number): number => comp >>> 16;

/** Last buffer of a frame. */
export const NICQ_COMP_EOP = 1;
/** The buffer was refused (bad descriptor or DMA not allowed): no data, len 0. */
export const NICQ_COMP_ERROR = 2;
/** Destination is a group address. */
export const NICQ_COMP_MULTICAST = 4;
/** The frame did not come by the cable: a function of this NIC sent it (the embedded switch; LB of Intel's 82576 and 82599). */
export const NICQ_COMP_LOOPBACK = 8;
/** First buffer of a TCP packet that stands for several frames and was not cut; its checksum is not filled in. */
export const NICQ_COMP_PACKET = 16;
/** Second buffer of such a packet: it holds no data, len is the payload of each frame. */
export const NICQ_COMP_INFO = 32;
