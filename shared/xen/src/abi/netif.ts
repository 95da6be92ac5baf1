import { RX_RING_SIZE } from './ring.js';

/** Network interface protocol. Source: Xen public/io/netif.h. See docs/wire/netif.md.
 *  tx and rx are always the guest's view, also inside netback. */

/** tx request, 12 bytes.
 *    0        4        6       8     10     12
 *    | gref   | offset | flags | id  | size |       u32 u16 u16 u16 u16
 *  size: the whole frame in the first slot of a frame, the own fragment in the others. */
export const TX_REQ_GREF = 0;
export const TX_REQ_OFFSET = 4;
export const TX_REQ_FLAGS = 6;
export const TX_REQ_ID = 8;
export const TX_REQ_SIZE = 10;
/** Bytes of a slot: the request's. The response takes 4: u16 id, i16 status. */
export const TX_SLOT_BYTES = 12;

/** rx request, 8 bytes.
 *    0     2      4        8
 *    | id  | pad  | gref   |       u16 u16 u32
 *  pad is zero, unless both ends agreed on feature-rx-offset: then it is the buffer's offset in its page. */
export const RX_REQ_ID = 0;
export const RX_REQ_OFFSET = 2;
export const RX_REQ_GREF = 4;
/** rx response, 8 bytes.
 *    0     2        4       6        8
 *    | id  | offset | flags | status |       u16 u16 u16 i16
 *  status: bytes in this slot, or a negative error. It lies in the slot of its request. */
export const RX_RSP_ID = 0;
export const RX_RSP_OFFSET = 2;
export const RX_RSP_FLAGS = 4;
export const RX_RSP_STATUS = 6;
export const RX_SLOT_BYTES = 8;

/** Control request, 16 bytes: u16 id, u16 type, u32 data[3]. Response, 12 bytes: u16 id, u16 type, u32 status, u32 data. */
export const CTRL_REQ_ID = 0;
export const CTRL_REQ_TYPE = 2;
export const CTRL_REQ_DATA0 = 4;
export const CTRL_REQ_DATA1 = 8;
export const CTRL_REQ_DATA2 = 12;
export const CTRL_RSP_STATUS = 4;
export const CTRL_RSP_DATA = 8;
export const CTRL_SLOT_BYTES = 16;

export const CTRL_TYPE_GET_GREF_MAPPING_SIZE = 8;
export const CTRL_TYPE_ADD_GREF_MAPPING = 9;
export const CTRL_TYPE_DEL_GREF_MAPPING = 10;
export const CTRL_STATUS_SUCCESS = 0;
export const CTRL_STATUS_NOT_SUPPORTED = 1;
export const CTRL_STATUS_INVALID_PARAMETER = 2;
export const CTRL_STATUS_BUFFER_OVERFLOW = 3;

/** Entry of the list that ADD and DEL name, 8 bytes: u32 gref, u16 flags (bit 0 read-only), u16 status (out). */
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

/** Extra info, 8 bytes in a slot of its own behind a packet's first: u8 type, u8 flags, then by type. GSO: u16 mss, u8 GSO
 *  type, u8 pad, u16 features. */
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
