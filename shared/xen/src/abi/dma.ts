/** DMA translation table: which page of which domain the NIC may touch. Only the hypervisor writes it; the NIC maps it
 *  read-only and looks an entry up before each transfer. See docs/wire/dma-table.md.
 *
 *    0        4          8         12       16
 *    | flags  | context  | owner   | pfn    |       u32 each
 *
 *  context: the domain whose NIC queues may use the entry. owner: the domain that the page belongs to, bits 0-15, and which of those
 *  that have had the number, bits 16-31. */
export const DMA_FLAGS = 0;
export const DMA_CONTEXT = 4;
export const DMA_OWNER = 8;
export const DMA_PFN = 12;
export const DMA_ENTRY_BYTES = 16;
export const DMA_ENTRIES = 65536;
export const DMA_TABLE_BYTES = DMA_ENTRIES * DMA_ENTRY_BYTES;

/** Value of DMA_OWNER. @param generation which of the domains that have had the number, modulo 2^16 */
export const dmaOwner = (domid: number, generation: number): number => ((generation << 16) | domid) >>> 0;
/** The number in it. */
export const DMA_OWNER_DOMID = 0xffff;

export const DMA_VALID = 1;
export const DMA_WRITE = 2;

/** One page that the NIC writes and the hypervisor reads: u32 at 0 counts burst starts and ends, odd while transfers are
 *  under way. After clearing entries the hypervisor waits until the count was even or has moved on: then no transfer
 *  that saw an old entry is still running. */
export const DMA_BURST = 0;
