import { PAGE_SIZE } from '@grantline/base';

/** Grant table, version 1. Source: Xen public/grant_table.h, grant_entry_v1. See docs/wire/grant-table.md.
 *
 *    0        2        4                 8
 *    | flags  | domid  | frame (pfn)     |      u16 u16 u32, little-endian
 *
 *  The guest writes domid and frame first and flags last: that store publishes the grant.
 *  GTF_READING and GTF_WRITING are the hypervisor's; all else is the guest's. */
export const GRANT_FLAGS = 0;
export const GRANT_DOMID = 2;
export const GRANT_FRAME = 4;
export const GRANT_ENTRY_BYTES = 8;

/** The table lies in the first pages of every domain's memory. */
export const GRANT_TABLE_PFN = 0;
export const GRANT_TABLE_PAGES = 4;
export const GRANT_ENTRIES = (GRANT_TABLE_PAGES * PAGE_SIZE) / GRANT_ENTRY_BYTES;
/** Entries 0 to 7 belong to the toolstack; guests grant from 8 on. */
export const GRANT_RESERVED_ENTRIES = 8;

export const GTF_PERMIT_ACCESS = 1;
export const GTF_TYPE_MASK = 3;
export const GTF_READONLY = 1 << 2;
/** Set by the hypervisor while the page is mapped or pinned at all. */
export const GTF_READING = 1 << 3;
/** Set by the hypervisor while the page is mapped or pinned for writing. */
export const GTF_WRITING = 1 << 4;

/** GNTMAP_* flags of a map operation. */
export const GNTMAP_DEVICE_MAP = 1 << 0;
export const GNTMAP_HOST_MAP = 1 << 1;
export const GNTMAP_READONLY = 1 << 2;

/** GNTCOPY_* flags of a copy operation. */
export const GNTCOPY_SOURCE_GREF = 1;
export const GNTCOPY_DEST_GREF = 2;

/** Status of one element of a grant operation. Errors are negative. */
export const GNTST = {
  okay: 0,
  generalError: -1,
  badDomain: -2,
  badGntref: -3,
  badHandle: -4,
  badVirtAddr: -5,
  badDevAddr: -6,
  noDeviceSpace: -7,
  permissionDenied: -8,
  badPage: -9,
  badCopyArg: -10,
  addressTooBig: -11,
  eagain: -12,
} as const;
/** Name of each status, by its negated value; used in counters and dumps. */
export const GNTST_NAMES = Object.keys(GNTST) as readonly (keyof typeof GNTST)[];

/** One gref can be pinned at most this often in each of the four ways (host/device x write/read). */
export const GNTPIN_MAX = 128;
