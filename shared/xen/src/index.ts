/** The interfaces between domains: layouts, rings, NIC queues, grants, event channels, the hypervisor's client side, xenbus. Of the
 *  layouts all is public: they are facts. */
export * from './abi/dma.js';
export * from './abi/event-channel.js';
export * from './abi/grant-table.js';
export * from './abi/hypercall.js';
export * from './abi/netif.js';
export {
  NICQ_AVAIL_EVENT,
  NICQ_AVAIL_PROD,
  NICQ_COMP_EOP,
  NICQ_COMP_ERROR,
  NICQ_COMP_EVENT,
  NICQ_COMP_INFO,
  NICQ_COMP_LOOPBACK,
  NICQ_COMP_MULTICAST,
  NICQ_COMP_PACKET,
  NICQ_COMP_PROD,
  NICQ_ENTRY_BYTES,
  NICQ_PAGES,
  NICQ_SIZE,
  compFlags,
  compLen,
  nicSpan,
  spanLen,
  spanOffset,
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
  headersBytes,
  headersCsumStart,
  orderFlags,
  orderMss,
} from './abi/nic-tx-queue.js';
export * from './abi/ring.js';
export * from './abi/xenbus.js';
export { EventChannel, notifyIf } from './evtchn/event-channel.js';
export { EventChannels } from './evtchn/event-channels.js';
export { EventSide } from './evtchn/event-side.js';
export {
  Batch,
  CopyBatch,
  DmaMapBatch,
  DmaUnmapBatch,
  MapBatch,
  ReceivedBatch,
  UnmapBatch,
  answerByMessage,
  callMessage,
} from './grant/batches.js';
export { HypercallRing, hypercallRingBytes, hypercallSlotsOf } from './hypervisor/hypercall-ring.js';
export { GrantTable } from './grant/grant-table.js';
export {
  MODERATION,
  allocNicChannel,
  attachQueue,
  detachQueue,
  longestPacket,
  type AttachArgs,
} from './hypervisor/nic-queue-client.js';
export { ownPlace, placeOf, showPlace } from './hypervisor/place.js';
export {
  type Call,
  type HypercallPort,
  type HypervisorPort,
  HypervisorError,
  SHARED_KINDS,
  SHARED_SOCKET,
  parseWire,
  type SharedKind,
  type WireError,
  type WireEvent,
} from './hypervisor/hypervisor-port.js';
export { XenstoreClient, parseNumber, type XenstoreOp } from './hypervisor/xenstore-client.js';
export type { DeviceEnd } from './nicq/queue-ends.js';
export { DeviceQueue, DriverQueue } from './nicq/rx-queue.js';
export { TxDeviceQueue, TxDriverQueue } from './nicq/tx-queue.js';
export { BackRing, FrontRing } from './ring/shared-ring.js';
export { idxAdd, idxDist, ringIdx, type RingIdx } from './ring/indices.js';
export { XenbusBackend } from './xenbus/backend.js';
export { Follower, messageOf } from './xenbus/vif-end.js';
export { XenbusFrontend } from './xenbus/frontend.js';
