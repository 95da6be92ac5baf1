/** Hypercall batches on the wire: as messages of a socket, and in the slots of a ring. See docs/wire/hypercall.md.
 *
 *  As a message:
 *
 *  request   | seq u32 | cmd u16 | count u16 | element 0 | element 1 | ...
 *  reply     | seq u32 | rc i16  | count u16 | result 0  | result 1  | ...
 *
 *  rc: 0, or a negative errno for the call itself. Each element has its own status; one that fails does not stop the
 *  others. Elements have Xen's layouts (public/grant_table.h); results carry the OUT fields only. */
export const HYPERCALL_HEADER_BYTES = 8;
/** Second and third field of both headers. */
export const HYPERCALL_CMD_OR_RC = 4;
export const HYPERCALL_COUNT = 6;
/** Elements in one batch at most. */
export const HYPERCALL_MAX_COUNT = 512;

export const GNTTABOP_MAP = 0;
export const GNTTABOP_UNMAP = 1;
export const GNTTABOP_COPY = 5;
/** Not Xen's: maps pages of the caller itself into the caller's DMA context (a driver's own buffers). */
export const DMAOP_MAP_SELF = 0x100;
export const DMAOP_UNMAP_SELF = 0x101;

/** rc of a call as a whole that was not executed. eproto is the caller's own: a reply that does not fit its batch. */
export const HYPERCALL_RC = { esrch: -3, efault: -14, einval: -22, enosys: -38, eproto: -71 } as const;

/** map element, 32 bytes: host_addr u64, flags u32, ref u32, dom u16, status i16, handle u32, dev_bus_addr u64. */
export const MAP_HOST_ADDR = 0;
export const MAP_FLAGS = 8;
export const MAP_REF = 12;
export const MAP_DOM = 16;
export const MAP_BYTES = 32;
/** The granter in the word that begins with it. */
export const mapDom = (word: number): number => word & 0xffff;
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
/** Its words of two fields: domid and offset of a side, and what is copied. */
export const copySide = (domid: number, offset: number): number => (domid & 0xffff) | (offset << 16);
export const copyDomid = (side: number): number => side & 0xffff;
export const copyOffset = (side: number): number => side >>> 16;
export const copyWhat = (len: number, flags: number): number => (len & 0xffff) | (flags << 16);
export const copyLen = (what: number): number => what & 0xffff;
export const copyFlags = (what: number): number => what >>> 16;

/** dma map_self element, 8 bytes: pfn u32, flags u32 (DMA_WRITE). */
export const DMA_MAP_PFN = 0;
export const DMA_MAP_FLAGS = 4;
export const DMA_MAP_BYTES = 8;
/** Its result, 8 bytes: status i16, pad u16, dpn u32. */
export const DMA_MAP_RES_DPN = 4;
export const DMA_MAP_RES_BYTES = 8;
/** dma unmap_self element, 4 bytes: dpn u32. Result: status i16. */
export const DMA_UNMAP_BYTES = 4;

/** Bytes of each element of a command. @returns 0 for a command that there is not */
export function elementBytes(cmd: number): number {
  switch (cmd) {
    case GNTTABOP_MAP:
      return MAP_BYTES;
    case GNTTABOP_UNMAP:
      return UNMAP_BYTES;
    case GNTTABOP_COPY:
      return COPY_BYTES;
    case DMAOP_MAP_SELF:
      return DMA_MAP_BYTES;
    case DMAOP_UNMAP_SELF:
      return DMA_UNMAP_BYTES;
    default:
      return 0;
  }
}

/** Bytes of each result of a command. All begin with the status. */
export function resultBytes(cmd: number): number {
  if (cmd === GNTTABOP_MAP) return MAP_RES_BYTES;
  return cmd === DMAOP_MAP_SELF ? DMA_MAP_RES_BYTES : STATUS_RES_BYTES;
}

/** Room for the longest reply, header included. */
export const HYPERCALL_REPLY_MAX_BYTES = HYPERCALL_HEADER_BYTES + HYPERCALL_MAX_COUNT * MAP_RES_BYTES;

/** A slot of the hypercall ring: cmd u16, count u16, pad u32, elements; at HCRING_RESULTS the results. The answer to cmd and count
 *  is rc i16, count u16. A call of more elements takes several slots. */
export const HCRING_ELEMENTS = 64;
export const HCRING_FIRST = 8;
/** Both at cache lines of their own: the caller writes the one part, the hypervisor the other. */
export const HCRING_RESULTS = 2624;
/** An odd number of cache lines, so that the beginnings of slots do not fall on the same few sets of a cache. */
export const HCRING_SLOT_BYTES = HCRING_RESULTS + HCRING_ELEMENTS * MAP_RES_BYTES;
/** Slots of a caller that works for all, and of any other. */
export const HCRING_SLOTS = 64;
export const HCRING_GUEST_SLOTS = 8;
