/** Hypercall batches on the wire (ws binary messages). See docs/wire/hypercall.md.
 *
 *  request   | seq u32 | cmd u16 | count u16 | element 0 | element 1 | ...
 *  reply     | seq u32 | rc i16  | count u16 | result 0  | result 1  | ...
 *
 *  rc: 0, or a negative errno for the call itself. Each element has its own status; one that fails does not stop the
 *  others. Elements have Xen's layouts (public/grant_table.h); results carry the OUT fields only. */
export const HYPERCALL_HEADER_BYTES = 8;
/** Elements in one batch at most. */
export const HYPERCALL_MAX_COUNT = 512;

export const GNTTABOP_MAP = 0;
export const GNTTABOP_UNMAP = 1;
export const GNTTABOP_COPY = 5;
/** Not Xen's: maps pages of the caller itself into the caller's DMA context (a driver's own buffers). */
export const DMAOP_MAP_SELF = 0x100;
export const DMAOP_UNMAP_SELF = 0x101;

/** map element, 32 bytes: host_addr u64, flags u32, ref u32, dom u16, status i16, handle u32, dev_bus_addr u64. */
export const MAP_HOST_ADDR = 0;
export const MAP_FLAGS = 8;
export const MAP_REF = 12;
export const MAP_DOM = 16;
export const MAP_BYTES = 32;
/** map result, 16 bytes: status i16, pad u16, handle u32, pfn u32 (host_map: page to map), dpn u32 (device_map). */
export const MAP_RES_STATUS = 0;
export const MAP_RES_HANDLE = 4;
export const MAP_RES_PFN = 8;
export const MAP_RES_DPN = 12;
export const MAP_RES_BYTES = 16;

/** unmap element, 24 bytes: host_addr u64 (0: leave), dev_bus_addr u64 (dpn << 12; 0: leave), handle u32, status i16. */
export const UNMAP_HOST_ADDR = 0;
export const UNMAP_DEV_BUS_ADDR = 8;
export const UNMAP_HANDLE = 16;
export const UNMAP_BYTES = 24;
/** unmap and copy result, 2 bytes: status i16. */
export const STATUS_RES_BYTES = 2;

/** copy element, 40 bytes: source {ref or pfn u64, domid u16, offset u16, pad u32}, dest {same}, len u16, flags u16,
 *  status i16, pad u16. */
export const COPY_SRC_REF = 0;
export const COPY_SRC_DOMID = 8;
export const COPY_SRC_OFFSET = 10;
export const COPY_DST_REF = 16;
export const COPY_DST_DOMID = 24;
export const COPY_DST_OFFSET = 26;
export const COPY_LEN = 32;
export const COPY_FLAGS = 34;
export const COPY_BYTES = 40;

/** dma map_self element, 8 bytes: pfn u32, flags u32 (DMA_WRITE). Result, 8 bytes: status i16, pad u16, dpn u32. */
export const DMA_MAP_PFN = 0;
export const DMA_MAP_FLAGS = 4;
export const DMA_MAP_BYTES = 8;
export const DMA_MAP_RES_BYTES = 8;
/** dma unmap_self element, 4 bytes: dpn u32. Result: status i16. */
export const DMA_UNMAP_BYTES = 4;
