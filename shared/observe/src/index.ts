/** What can be seen: every counter and metric, and captures. */
export { CaptureRing } from './capture/capture-ring.js';
export {
  CaptureError,
  type Capture,
  DEFAULT_RING_BYTES,
  MAX_RING_BYTES,
  MAX_SNAPLEN,
  MIN_RING_BYTES,
  RECORD_BYTES_SURE,
  RECORD_CHUNKS,
  RECORD_CHUNK_BYTES,
  RECORD_LENGTH_BYTES,
  STORE_BYTES,
  UPLOAD_BYTES,
  recordedBytes,
  storedBytes,
} from './capture/capture.js';
export {
  NETBACK_DROP,
  NETBACK_TX_DROP,
  NETFRONT_DROP,
  NET_DROP,
  NIC_DROP,
  NIC_QUEUE_DROP,
  NIC_TX_DROP,
  NOT_DROPPED,
  STACK_DROP,
  UNSEEN,
} from './capture/drop-reasons.js';
export { MacRewriter, destinations, keyAt, type MacMapping } from './capture/mac-rewriter.js';
export {
  INBOUND,
  OUTBOUND,
  PCAPNG_STATISTICS,
  interfaceBlock,
  readStatistics,
  sectionBlock,
  statisticsBlock,
  type Statistics,
  sectionInfo,
} from './capture/pcapng-blocks.js';
export { PCAP_HEADER_BYTES, PCAP_RECORD_BYTES, parseCapture, writePcap, type FrameRecord } from './capture/pcap.js';
export { PCAPNG_ENHANCED } from './capture/pcapng.js';
export { FrameProbe, HOPS, NO_PROBE, type Hop, NO_RX_PROBE, RxProbe } from './capture/probe.js';
export { CounterReader, readerOf } from './counters/counter-reader.js';
export { BRIDGE_COUNTERS, DRIVER_COUNTERS, NETBACK_COUNTERS, NETBACK_TX_COUNTERS } from './counters/driver-domain.js';
export { CAPTURE_COUNTERS, TAP_COUNTERS, COUNTERS, type CounterKind, type CounterName } from './counters/names.js';
export {
  APP_COUNTERS,
  NETFRONT_COUNTERS,
  NETFRONT_TX_COUNTERS,
  RESPONDER_COUNTERS,
  SENDER_COUNTERS,
  STACK_COUNTERS,
  WEB_COUNTERS,
} from './counters/guest.js';
export { CONTROL_COUNTERS, HYPERCALL_COUNTERS } from './counters/hypervisor.js';
export {
  CABLE_COUNTERS,
  EDGE_COUNTERS,
  EGRESS_COUNTERS,
  FAULTS_COUNTERS,
  NIC_COUNTERS,
  NIC_QUEUE_COUNTERS,
  NIC_TX_COUNTERS,
  REQUESTER_COUNTERS,
} from './counters/nic.js';
export { METRICS_TYPE, ServiceMetrics, readingsPage, type Reading } from './counters/service-metrics.js';
