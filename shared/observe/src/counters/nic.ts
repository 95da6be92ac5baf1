/** What the NIC counts, and what stands at the far end of its cable. tx and rx are the guest's. */
import {
  contained,
  counters,
  drop,
  dropOf,
  hidden,
  named,
  RX,
  sent,
  shown,
  suppressed,
  TX,
  type Entry,
} from '@grantline/machine';

/** The cable and what sends at its far end. */
export const CABLE_COUNTERS = counters('cable', {
  sentFrames: shown('grantline_cable_frames_total', RX),
  sentBytes: shown('grantline_cable_bytes_total', RX),
  /** Frames that arrived while the NIC's packet memory was full (flow control off). */
  dropOverrun: drop,
  /** Time that the sender was held by flow control. */
  pausedNs: shown('grantline_cable_paused_seconds_total'),
  /** What the station at the far end sent, beside the load: not in sentFrames. */
  stationFrames: shown('grantline_cable_frames_total', RX),
  stationBytes: shown('grantline_cable_bytes_total', RX),
  /** Frames of the station that were given up, since their queue had no buffer for too long. */
  dropHeld: dropOf({ outside: 'what the station at the far end gave up was never sent: no frame of any hop' }),
});

/** The NIC as a whole. in = delivered to queues + drops. */
export const NIC_COUNTERS = counters('nic', {
  inFrames: shown('grantline_nic_frames_total', RX),
  inBytes: shown('grantline_nic_bytes_total', RX),
  dropRunt: drop,
  dropOversize: drop,
  dropNoQueue: drop,
});

/** One NIC queue. Labels: queue ('default' or a vif name). badDescriptors and dmaRefused count buffers that came back
 *  as errors; a frame drops for them only when too many in a row are bad. */
export const NIC_QUEUE_COUNTERS = counters('nicQueue', 'queue', {
  frames: shown('grantline_nic_queue_frames_total', RX),
  bytes: shown('grantline_nic_queue_bytes_total', RX),
  buffers: shown('grantline_nic_queue_buffers_total'),
  dropNoBuffer: drop,
  dropDmaRefused: drop,
  dropBadDescriptor: drop,
  dropTooLong: drop,
  badDescriptors: shown('grantline_bad_descriptors_total'),
  dmaRefused: shown('grantline_refused_dma_total'),
  notifications: sent('nic_queue'),
  suppressed: suppressed('nic_queue'),
  /** Exceptions in the work of the queue: it has stopped. */
  exceptions: contained('nic_queue'),
  /** Frames for a queue that has stopped for one. */
  dropFailed: drop,
});

/** One NIC transmit queue. Labels: queue ('default' or a vif name). packets: what drivers posted, up to 64 KiB each; frames:
 *  what went onto the cable, segments counted each. packets = sentPackets + drops. */
export const NIC_TX_COUNTERS = counters('nicTx', 'queue', {
  packets: hidden('what was sent and what was dropped, together'),
  sentPackets: hidden('packets before they are cut: frames are shown'),
  frames: shown('grantline_nic_queue_frames_total', TX),
  bytes: shown('grantline_nic_queue_bytes_total', TX),
  descriptors: shown('grantline_nic_queue_buffers_total'),
  segmented: hidden('how many packets were cut: frames are shown'),
  checksums: hidden('how many packets had their checksum filled in'),
  toQueues: hidden('how many of the frames went to another queue: that queue counts them, too'),
  floodFrames: hidden('group-addressed frames that the default queue was given, too: it counts them'),
  dropBadDescriptor: drop,
  dropDmaRefused: drop,
  dropOversize: drop,
  dropSpoofed: drop,
  dropStorm: drop,
  dropHairpin: drop,
  faults: hidden('a queue that has stopped: the dump of the nic says why'),
  notifications: sent('nic_queue'),
  suppressed: suppressed('nic_queue'),
  /** Exceptions in the work of the queue: it has stopped. */
  exceptions: contained('nic_transmit'),
});

/** The cable out of the NIC: what its far end was handed. */
export const EGRESS_COUNTERS = counters('egress', {
  frames: shown('grantline_cable_frames_total', TX),
  bytes: shown('grantline_cable_bytes_total', TX),
  /** Of frames, those for the station rather than for the sink of a measured run. */
  toStation: hidden('part of frames: the stack of the station counts its own'),
});

const LEVEL = hidden('a level, not a count: the dump of the nic tells it');

const asked = (op: string): Entry => shown('grantline_requests_total', { op });
/** Who asks, at the far end of the cable. requests = answered + timeouts + inFlight. */
export const REQUESTER_COUNTERS = counters('requester', {
  requests: asked('sent'),
  answered: asked('answered'),
  timeouts: asked('timed_out'),
  /** Answers to requests that had timed out. */
  late: asked('late'),
  /** Answers to what was answered before. */
  repeated: asked('repeated'),
  inFlight: LEVEL,
});

const fault = named('grantline_injected_faults_total', 'op');
/** The injector on the cable. Labels: direction (in: to the NIC, out: from it). In a frame there is at most one fault. */
export const FAULTS_COUNTERS = counters('faults', 'direction', {
  /** Those that it looked at. */
  frames: hidden('the same frames as on the cable'),
  lost: fault,
  duplicated: fault,
  corrupted: fault,
  /** Those of the corrupted that were hit in the TCP or UDP header. */
  headersHit: hidden('a part of the corrupted'),
  reordered: fault,
  delayed: fault,
  /** Held to be overtaken, and nothing came that overtook them. */
  undone: fault,
  /** Faults that found no buffer free and were left out. */
  full: fault,
  held: LEVEL,
});

const connection = named('grantline_edge_connections_total', 'op');
/** The edge: connections that it took, refused (and why), and ended by itself. */
export const EDGE_COUNTERS = counters('edge', {
  opened: connection,
  refusedAll: connection,
  refusedDoor: connection,
  refusedAddress: connection,
  refusedByStack: connection,
  /** The client did not take what was sent for it. */
  stalled: connection,
  /** Nothing moved for long. */
  idle: connection,
  /** Others needed the room. */
  reclaimed: connection,
});
