/** The interfaces between domains: layouts, rings, NIC queues, grants, event channels, the hypervisor's client side, xenbus. */
export {
  DMA_BURST,
  DMA_CONTEXT,
  DMA_ENTRIES,
  DMA_ENTRY_BYTES,
  DMA_FLAGS,
  DMA_OWNER,
  DMA_OWNER_DOMID,
  DMA_PFN,
  DMA_TABLE_BYTES,
  DMA_VALID,
  DMA_WRITE,
  dmaOwner,
} from './abi/dma.js';
export { EVTCHN_MAX_PORTS, type EvtchnStatus } from './abi/event-channel.js';
export {
  GNTCOPY_DEST_GREF,
  GNTCOPY_SOURCE_GREF,
  GNTMAP_DEVICE_MAP,
  GNTMAP_HOST_MAP,
  GNTMAP_READONLY,
  GNTPIN_MAX,
  GNTST,
  GNTST_NAMES,
  GRANT_DOMID,
  GRANT_ENTRIES,
  GRANT_ENTRY_BYTES,
  GRANT_FLAGS,
  GRANT_FRAME,
  GRANT_RESERVED_ENTRIES,
  GRANT_TABLE_PAGES,
  GRANT_TABLE_PFN,
  GTF_PERMIT_ACCESS,
  GTF_READING,
  GTF_READONLY,
  GTF_TYPE_MASK,
  GTF_WRITING,
} from './abi/grant-table.js';
export {
  COPY_BYTES,
  COPY_DST_DOMID,
  COPY_DST_OFFSET,
  COPY_DST_REF,
  COPY_FLAGS,
  COPY_LEN,
  COPY_SRC_DOMID,
  COPY_SRC_OFFSET,
  COPY_SRC_REF,
  DMAOP_MAP_SELF,
  DMAOP_UNMAP_SELF,
  DMA_MAP_BYTES,
  DMA_MAP_FLAGS,
  DMA_MAP_PFN,
  DMA_MAP_RES_BYTES,
  DMA_UNMAP_BYTES,
  GNTTABOP_COPY,
  GNTTABOP_MAP,
  GNTTABOP_UNMAP,
  HYPERCALL_HEADER_BYTES,
  HYPERCALL_MAX_COUNT,
  MAP_BYTES,
  MAP_DOM,
  MAP_FLAGS,
  MAP_REF,
  MAP_RES_BYTES,
  MAP_RES_DPN,
  MAP_RES_HANDLE,
  MAP_RES_PFN,
  MAP_RES_STATUS,
  STATUS_RES_BYTES,
  UNMAP_BYTES,
  UNMAP_DEV_BUS_ADDR,
  UNMAP_HANDLE,
  UNMAP_HOST_ADDR,
} from './abi/hypercall.js';
export {
  CTRL_REQ_DATA0,
  CTRL_REQ_DATA1,
  CTRL_REQ_DATA2,
  CTRL_REQ_TYPE,
  CTRL_RSP_DATA,
  CTRL_RSP_STATUS,
  CTRL_SLOT_BYTES,
  CTRL_STATUS_BUFFER_OVERFLOW,
  CTRL_STATUS_INVALID_PARAMETER,
  CTRL_STATUS_NOT_SUPPORTED,
  CTRL_STATUS_SUCCESS,
  CTRL_TYPE_ADD_GREF_MAPPING,
  CTRL_TYPE_DEL_GREF_MAPPING,
  CTRL_TYPE_GET_GREF_MAPPING_SIZE,
  GREF_LIST_ENTRY_BYTES,
  GREF_LIST_MAX,
  GREF_LIST_READONLY,
  GREF_LIST_STATUS,
  NETBACK_BATCH,
  NETBACK_HEADER_BYTES,
  NETBACK_QUEUE_BYTES,
  NETBACK_SLOTS_FATAL,
  NETBACK_SLOTS_MAX,
  NETFRONT_TX_SPARE,
  NETIF_NR_SLOTS_MIN,
  NETIF_RSP_DROPPED,
  NETIF_RSP_ERROR,
  NETIF_RSP_NULL,
  NETIF_RSP_OKAY,
  NETRXF_CSUM_BLANK,
  NETRXF_DATA_VALIDATED,
  NETRXF_EXTRA_INFO,
  NETRXF_MORE_DATA,
  NETTXF_CSUM_BLANK,
  NETTXF_DATA_VALIDATED,
  NETTXF_EXTRA_INFO,
  NETTXF_MORE_DATA,
  RX_REQ_GREF,
  RX_REQ_OFFSET,
  RX_SLOT_BYTES,
  TX_SLOT_BYTES,
  XEN_NETIF_EXTRA_FLAG_MORE,
  XEN_NETIF_EXTRA_TYPE_GSO,
  XEN_NETIF_EXTRA_TYPE_MAX,
  XEN_NETIF_GSO_TYPE_TCPV4,
} from './abi/netif.js';
export {
  NICQ_AVAIL_EVENT,
  NICQ_AVAIL_PROD,
  NICQ_COMP_EOP,
  NICQ_COMP_ERROR,
  NICQ_COMP_EVENT,
  NICQ_COMP_FLAGS,
  NICQ_COMP_LEN,
  NICQ_COMP_LOOPBACK,
  NICQ_COMP_MULTICAST,
  NICQ_COMP_PROD,
  NICQ_ENTRY_BYTES,
  NICQ_PAGES,
  NICQ_SIZE,
} from './abi/nic-queue.js';
export {
  NICTX_COMP_BAD,
  NICTX_COMP_REFUSED,
  NICTX_COMP_SENT,
  NICTX_CSUM_TCP,
  NICTX_CSUM_UDP,
  NICTX_EOP,
  NICTX_MAX_CHAIN,
  NICTX_SIZE,
  NICTX_TSO,
} from './abi/nic-tx-queue.js';
export {
  CTRL_RING_SIZE,
  RING_REQ_PROD,
  RING_RSP_EVENT,
  RING_RSP_PROD,
  RX_RING_SIZE,
  TX_RING_SIZE,
} from './abi/ring.js';
export {
  VIF_DEV,
  XENBUS,
  XENBUS_NAMES,
  backendPath,
  domainPath,
  frontendPath,
  vifName,
  type XenbusState,
} from './abi/xenbus.js';
export { EventChannels } from './evtchn/channel.js';
export { EventChannel } from './evtchn/event-channel.js';
export { EventSide } from './evtchn/event-page.js';
export { notifyIf } from './evtchn/notify-if.js';
export { type Batch, CopyBatch, DmaMapBatch, DmaUnmapBatch, MapBatch, UnmapBatch } from './grant/batches.js';
export { GrantTable } from './grant/grant-table.js';
export {
  MODERATION,
  allocNicChannel,
  attachQueue,
  detachQueue,
  type AttachArgs,
} from './hypervisor/nic-queue-client.js';
export { ownPlace, placeOf, showPlace } from './hypervisor/place.js';
export type { HypercallPort, HypervisorPort } from './hypervisor/port.js';
export {
  HypervisorError,
  SHARED_SOCKET,
  parseWire,
  type SharedKind,
  type WireError,
  type WireEvent,
} from './hypervisor/wire.js';
export { XenstoreClient, parseNumber, type XenstoreOp } from './hypervisor/xenstore.js';
export { DeviceQueue } from './nicq/device-queue.js';
export { DriverQueue } from './nicq/driver-queue.js';
export { TxDeviceQueue } from './nicq/tx-device-queue.js';
export { TxDriverQueue } from './nicq/tx-driver-queue.js';
export { BackRing } from './ring/back-ring.js';
export { FrontRing } from './ring/front-ring.js';
export { idxAdd, idxDist, ringIdx, type RingIdx } from './ring/indices.js';
export { XenbusBackend } from './xenbus/backend.js';
export { Follower } from './xenbus/follower.js';
export { XenbusFrontend } from './xenbus/frontend.js';
export { messageOf } from './xenbus/offer.js';
