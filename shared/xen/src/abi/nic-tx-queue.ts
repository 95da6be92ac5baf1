/** NIC transmit queue: three pages in the memory of the domain that drives the queue. See docs/wire/nic-queue.md section 8.
 *
 *  header page: as that of a receive queue (nic-queue.ts): avail_prod, avail_event, comp_prod, comp_event.
 *  avail page: 256 descriptors   | dpn u32 | offset u16 | len u16 | flags u16 | mss u16 | csum_start u16 | header u16 |
 *  comp page:  256 entries       | status u32 |
 *
 *  A packet is one or more descriptors, the last with EOP; what else it wants stands in its first one. Completions come
 *  in the order of the descriptors, one for each. */
export const NICTX_SIZE = 256;

/** Words of a descriptor: dpn, span (nic-queue.ts), order, headers. */
export const txOrder = (flags: number, mss: number): number => flags | (mss << 16);
export const orderFlags = (order: number): number => order & 0xffff;
export const orderMss = (order: number): number => order >>> 16;
export const txHeaders = (csumStart: number, bytes: number): number => csumStart | (bytes << 16);
export const headersCsumStart = (headers: number): number => headers & 0xffff;
export const headersBytes = (headers: number): number => headers >>> 16;

/** Last descriptor of a packet. */
export const NICTX_EOP = 1;
/** Fill in the checksum of TCP or UDP, whose header begins at csum_start; its field holds the sum of the pseudo header. */
export const NICTX_CSUM_TCP = 2;
export const NICTX_CSUM_UDP = 4;
/** Cut into TCP segments of at most mss bytes of payload; `header`: bytes of all headers. */
export const NICTX_TSO = 8;

/** The transfer is over: nothing reads the buffer any more. */
export const NICTX_COMP_SENT = 0;
/** The packet was refused: impossible descriptors. */
export const NICTX_COMP_BAD = 1;
/** The packet was refused: the DMA table does not give a page. */
export const NICTX_COMP_REFUSED = 2;

/** Descriptors of one packet at most: a header of its own, and the slots that netif has to accept. */
export const NICTX_MAX_CHAIN = 20;
