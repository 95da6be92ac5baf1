import { RX_RING_SIZE } from './ring.js';

/** Network interface protocol. Source: Xen public/io/netif.h. See docs/wire/netif.md.
 *  tx and rx are always the guest's view, also inside netback. */

/** tx request, 12 bytes.
 *    0        4        6       8     10     12
 *    | gref   | offset | flags | id  | size |       u32 u16 u16 u16 u16
 *  size: the whole frame in the first slot of a frame, the own fragment in the others.
 *
 *  Its words: gref, where, what. */
export const txWhere = (offset: number, flags: number): number => offset | (flags << 16);
export const txOffset = (where: number): number => where & 0xffff;
export const txFlags = (where: number): number => where >>> 16;
export const txWhat = (id: number, size: number): number => id | (size << 16);
export const txId = (what: number): number => what & 0xffff;
export const txSize = (what: number): number => what >>> 16;
/** Bytes of a slot: the request's. */
export const TX_SLOT_BYTES = 12;

/** tx response, 4 bytes.
 *    0     2        4
 *    | id  | status |       u16 i16 */
export const txRsp = (id: number, status: number): number => id | (status << 16);
export const txRspId = (word: number): number => word & 0xffff;
export const txRspStatus = (word: number): number => word >> 16;

/** rx request, 8 bytes.
 *    0     2      4        8
 *    | id  | pad  | gref   |       u16 u16 u32
 *  pad is zero, unless both ends agreed on feature-rx-offset: then it is the buffer's offset in its page.
 *
 *  rx response, 8 bytes.
 *    0     2        4       6        8
 *    | id  | offset | flags | status |       u16 u16 u16 i16
 *  status: bytes in this slot, or a negative error. It lies in the slot of its request.
 *
 *  The words of both: low; gref, or high. */
export const rxLow = (id: number, offset: number): number => id | (offset << 16);
export const rxId = (low: number): number => low & 0xffff;
export const rxOffset = (low: number): number => low >>> 16;
export const rxHigh = (flags: number, status: number): number => flags | (status << 16);
export const rxFlags = (high: number): number => high & 0xffff;
export const rxStatus = (high: number): number => high >> 16;
export const RX_SLOT_BYTES = 8;

/** Extra info, 8 bytes in a slot of its own behind a packet's first.
 *    0      1       2     4          5     6          8
 *    | type | flags | mss | GSO type | pad | features |       u8 u8 u16 u8 u8 u16; from 2 on by type: that of GSO
 *  Its words: head, body. */
export const extraHead = (type: number, mss: number): number => type | (mss << 16);
export const extraType = (head: number): number => head & 0xff;
export const extraFlags = (head: number): number => (head >>> 8) & 0xff;
export const gsoMss = (head: number): number => head >>> 16;
export const gsoType = (body: number): number => body & 0xff;

/** Control request, 16 bytes, and response, 12 bytes.
 *    0     2       4          8        12        16
 *    | id  | type  | data 0   | data 1 | data 2  |       u16 u16 u32 u32 u32
 *    | id  | type  | status   | data   |                 u16 u16 u32 u32
 *  Words: head; of the request data 0 to 2, of the response status and data. */
export const ctrlHead = (id: number, type: number): number => id | (type << 16);
export const ctrlId = (head: number): number => head & 0xffff;
export const ctrlType = (head: number): number => head >>> 16;
export const CTRL_SLOT_BYTES = 16;

export const CTRL_TYPE_GET_GREF_MAPPING_SIZE = 8;
export const CTRL_TYPE_ADD_GREF_MAPPING = 9;
export const CTRL_TYPE_DEL_GREF_MAPPING = 10;
export const CTRL_STATUS_SUCCESS = 0;
export const CTRL_STATUS_NOT_SUPPORTED = 1;
export const CTRL_STATUS_INVALID_PARAMETER = 2;
export const CTRL_STATUS_BUFFER_OVERFLOW = 3;

/** Entry of the list that ADD and DEL name, 8 bytes.
 *    0        4       6        8
 *    | gref   | flags | status |       u32 u16 u16
 *  flags: bit 0 read-only. status is netback's. Its words: gref, entry. */
export const grefListEntry = (flags: number, status: number): number => flags | (status << 16);
export const grefListStatus = (entry: number): number => entry >>> 16;
export const GREF_LIST_STATUS = 6;
export const GREF_LIST_ENTRY_BYTES = 8;
export const GREF_LIST_MAX = 512;
export const GREF_LIST_READONLY = 1;

export const NETTXF_CSUM_BLANK = 1;
export const NETTXF_DATA_VALIDATED = 2;
export const NETTXF_MORE_DATA = 4;
export const NETTXF_EXTRA_INFO = 8;

/** The two checksum bits are swapped between tx and rx. */
export const NETRXF_DATA_VALIDATED = 1;
export const NETRXF_CSUM_BLANK = 2;
export const NETRXF_MORE_DATA = 4;
export const NETRXF_EXTRA_INFO = 8;

/** Of extra info. */
export const XEN_NETIF_EXTRA_TYPE_GSO = 1;
export const XEN_NETIF_EXTRA_TYPE_MAX = 6;
export const XEN_NETIF_EXTRA_FLAG_MORE = 1;
export const XEN_NETIF_GSO_TYPE_TCPV4 = 1;

export const NETIF_RSP_OKAY = 0;
export const NETIF_RSP_ERROR = -1;
export const NETIF_RSP_DROPPED = -2;
export const NETIF_RSP_NULL = 1;

/** Slots that every backend must accept for one frame. */
export const NETIF_NR_SLOTS_MIN = 18;
/** Data slots after a packet's first that netback takes, and from which on the front end is broken (Linux: fatal_skb_slots). */
export const NETBACK_SLOTS_MAX = 18;
export const NETBACK_SLOTS_FATAL = 20;
/** Bytes of a packet that netback copies; the rest stays where it is (XEN_NETBACK_TX_COPY_LEN). */
export const NETBACK_HEADER_BYTES = 128;
/** A front end stops sending when fewer than a packet's worth of slots is free: 256 - 237 (xen-netfront.c). */
export const NETFRONT_TX_SPARE = 19;
/** Operations that netback puts into one hypercall (COPY_BATCH_SIZE in Linux rx.c). */
export const NETBACK_BATCH = 64;
/** Bytes that netback holds for one vif queue before it drops (XENVIF_RX_QUEUE_BYTES). */
export const NETBACK_QUEUE_BYTES = (RX_RING_SIZE / 2) * 4096;
