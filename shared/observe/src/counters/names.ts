/** Every counter of the testbed, by the kind of block it stands in. The order is the slot order. Units: frames, bytes,
 *  operations, or nanoseconds where the name ends in Ns. tx and rx are the guest's view. */
import { CPU_COMMON } from '@grantline/machine';
import { GNTST_NAMES } from '@grantline/xen';

/** The cable and what sends at its far end. */
export const CABLE_COUNTERS = [
  'sentFrames',
  'sentBytes',
  /** Frames that arrived while the NIC's packet memory was full (flow control off). */
  'dropOverrun',
  /** Time that the sender was held by flow control. */
  'pausedNs',
  /** What the station at the far end sent, beside the load: not in sentFrames. */
  'stationFrames',
  'stationBytes',
  /** Frames of the station that were given up, since their queue had no buffer for too long: they were never sent. */
  'dropHeld',
] as const;

/** The NIC as a whole. in = delivered to queues + drops. */
export const NIC_COUNTERS = ['inFrames', 'inBytes', 'dropRunt', 'dropOversize', 'dropNoQueue'] as const;

/** One NIC queue. Labels: queue ('default' or a vif name). badDescriptors and dmaRefused count buffers that came back
 *  as errors; a frame drops for them only when too many in a row are bad. */
export const NIC_QUEUE_COUNTERS = [
  'frames',
  'bytes',
  'buffers',
  'dropNoBuffer',
  'dropDmaRefused',
  'dropBadDescriptor',
  'dropTooLong',
  'badDescriptors',
  'dmaRefused',
  'notifications',
  'suppressed',
  /** Exceptions in the work of the queue: it has stopped. */
  'exceptions',
  /** Frames for a queue that has stopped for one. */
  'dropFailed',
] as const;

/** One NIC transmit queue. Labels: queue ('default' or a vif name). packets: what drivers posted; frames: what went onto the
 *  cable, segments counted each. packets = sentPackets + drops. */
export const NIC_TX_COUNTERS = [
  'packets',
  'sentPackets',
  'frames',
  'bytes',
  'descriptors',
  'segmented',
  'checksums',
  'toQueues',
  'floodFrames',
  'dropBadDescriptor',
  'dropDmaRefused',
  'dropOversize',
  'dropSpoofed',
  'dropStorm',
  'dropHairpin',
  'faults',
  'notifications',
  'suppressed',
  /** Exceptions in the work of the queue: it has stopped. */
  'exceptions',
] as const;

/** The cable out of the NIC: what its far end was handed. */
export const EGRESS_COUNTERS = [
  'frames',
  'bytes',
  /** Of frames, those for the station rather than for the sink of a measured run. */
  'toStation',
] as const;

/** The application that sends, and the device under it. Labels: vif. frames: as they will be on the cable; packets: as they
 *  are handed to the device. */
export const SENDER_COUNTERS = ['packets', 'frames', 'bytes', 'payloadBytes', 'copies', 'copiedBytes'] as const;

/** One vif's transmit side in netfront, or the guest's (or native's) own NIC transmit queue. packets = answered + in flight;
 *  answered = responses that were OKAY, errors and dropped the others. Labels: vif. */
export const NETFRONT_TX_COUNTERS = [
  'packets',
  'slots',
  'sent',
  'dropError',
  'grantsIssued',
  'grantsRevoked',
  'quarantined',
  'notifications',
  'suppressed',
  'poolGrants',
] as const;

/** One vif's transmit side in netback. packets = toUplink + toNic + toVif + flooded + drops, when all is at rest;
 *  toUplink + toNic are those that NIC queues took, nicErrors those of them that the NIC refused. Labels: vif. */
export const NETBACK_TX_COUNTERS = [
  'packets',
  'bytes',
  'slots',
  'extras',
  'toUplink',
  'toNic',
  'toVif',
  'vifFrames',
  'flooded',
  'floodUplink',
  'floodCopies',
  'nicErrors',
  'vifErrors',
  'dropBadRequest',
  'dropTooManySlots',
  'dropGrantError',
  'dropBadHeader',
  'dropSpoofed',
  'dropStorm',
  'dropHairpin',
  'dropNoPort',
  'dropNoRoom',
  'dropTooLong',
  'dropDisabled',
  'ringFaults',
  'creditWaits',
  'mapOps',
  'unmapOps',
  'copyOps',
  'localCopies',
  'localCopiedBytes',
  'hypercalls',
  'notifications',
  'suppressed',
  'poolGrants',
] as const;

/** The NIC driver in the driver domain: frames taken from the default queue. */
export const DRIVER_COUNTERS = [
  'frames',
  'bytes',
  'errors',
  'notifications',
  'suppressed',
  /** NIC queues of the driver domain that gave up, and were attached anew. */
  'reattached',
] as const;

/** The bridge. inFrames = forwarded + flooded + dropHairpin + dropNoPort; flooded frames leave as floodCopies. */
export const BRIDGE_COUNTERS = [
  'inFrames',
  'forwarded',
  'flooded',
  'floodCopies',
  'dropHairpin',
  'dropNoPort',
  'learned',
  'aged',
] as const;

/** One vif in netback, guest rx. in = out + drops + in flight. nicFrames: those that the NIC put straight into the
 *  guest's pages; bridgeFrames: those that came over the bridge. Labels: vif. */
export const NETBACK_COUNTERS = [
  'nicFrames',
  'bridgeFrames',
  'outFrames',
  'outBytes',
  'dropQueueFull',
  'dropStalled',
  'dropGrantError',
  'dropNicError',
  'dropDisabled',
  'requests',
  'badRequests',
  'ringFaults',
  'pinOps',
  'unpinOps',
  'mapOps',
  'unmapOps',
  'copyOps',
  'localCopies',
  'localCopiedBytes',
  'hypercalls',
  'notifications',
  'suppressed',
  'poolGrants',
  /** Exceptions in the work of the vif, receive and transmit: it was disabled. */
  'exceptions',
  /** Standing grants and mappings that the hypervisor did not let go of. */
  'keptGrants',
] as const;

/** Hypercalls of one domain, as the hypervisor counts them. Labels: domain. cpuNs: time in the handlers;
 *  transportNs: this domain's share of the time that its messages cost outside the handlers. */
export const HYPERCALL_COUNTERS = [
  'calls',
  'mapOps',
  'unmapOps',
  'copyOps',
  'copiedBytes',
  'dmaMapOps',
  'dmaUnmapOps',
  'cpuNs',
  'transportNs',
  ...GNTST_NAMES,
] as const;

/** The hypervisor's sockets. refused: connections turned away; garbage, tooSlow: closed for it. */
export const CONTROL_COUNTERS = [
  'connections',
  'refused',
  'requests',
  'failedRequests',
  'events',
  'garbage',
  'tooSlow',
] as const;

/** One vif in netfront. in = toStack + drops. Labels: vif. */
export const NETFRONT_COUNTERS = [
  'responses',
  'frames',
  'bytes',
  'toStack',
  'dropError',
  'dropMalformed',
  'requests',
  'grantsIssued',
  'grantsRevoked',
  'quarantined',
  'notifications',
  'suppressed',
  'poolGrants',
  /** Exceptions in the work of the vif: it was disabled. */
  'exceptions',
] as const;

/** A TAP device. to, from: seen from the kernel behind it. Packets may be as long as 64 KiB; frames are what they would be,
 *  or were, on the wire. Labels: device ('far' or a vif name). */
export const TAP_COUNTERS = [
  'toPackets',
  'toFrames',
  'toBytes',
  'fromPackets',
  'fromFrames',
  'fromBytes',
  /** Frames that the kernel did not take: the device is down, or memory is short. */
  'dropRefused',
  /** Packets from the kernel whose vnet header contradicts them. */
  'dropMalformed',
] as const;

/** The network stack. inFrames = toSocket + drops; segments: what the socket was handed, after coalescing. */
export const STACK_COUNTERS = [
  'inFrames',
  'toSocket',
  'segments',
  'coalesced',
  'dropNotMine',
  'dropBadHeader',
  'dropBadChecksum',
  'dropNoSocket',
] as const;

/** The receiving application. A frame counts in frames once its payload lies in the application's private memory. */
export const APP_COUNTERS = [
  'frames',
  'bytes',
  'payloadBytes',
  'copies',
  'corrupt',
  'duplicate',
  'reordered',
  'missing',
  'foreign',
] as const;

/** Captures of one hop (docs/wire/capture.md). frames and bytes: what was put into the ring of a capture, each capture's own
 *  counted; overflow: frames that found it full. Labels: hop. */
export const CAPTURE_COUNTERS = ['frames', 'bytes', 'overflow'] as const;

/** The application that answers requests. requests = responses + drops + those that wait for the device. Labels: vif. */
export const RESPONDER_COUNTERS = [
  'requests',
  'responses',
  'responseBytes',
  'copies',
  'dropCorrupt',
  'dropNoDevice',
  'dropNoRoom',
] as const;

/** Who asks, at the far end of the cable. requests = answered + timeouts + inFlight; late: answers to requests that had
 *  timed out; repeated: answers to what was answered before. */
export const REQUESTER_COUNTERS = ['requests', 'answered', 'timeouts', 'late', 'repeated', 'inFlight'] as const;

/** The injector on the cable. Labels: direction (in: to the NIC, out: from it). frames: those that it looked at; in them at
 *  most one fault each. headersHit: those of the corrupted that were hit in the TCP or UDP header. undone: held to be
 *  overtaken, and nothing came that overtook them. full: faults that found no buffer free and were left out. held: a level. */
export const FAULTS_COUNTERS = [
  'frames',
  'lost',
  'duplicated',
  'corrupted',
  'headersHit',
  'reordered',
  'delayed',
  'undone',
  'full',
  'held',
] as const;

export const NIC_CPU = [...CPU_COMMON, 'generator', 'nic', 'farEnd', 'outer'] as const;
export const DRIVER_DOMAIN_CPU = [
  ...CPU_COMMON,
  'driver',
  'bridge',
  'netback',
  'grantCalls',
  'stack',
  'application',
] as const;
export const GUEST_CPU = [...CPU_COMMON, 'netfront', 'driver', 'stack', 'application'] as const;
export const HYPERVISOR_CPU = [...CPU_COMMON, 'hypercalls', 'transport'] as const;

/** The web application of a guest, by the answers it gave. Labels: vif. */
export const WEB_COUNTERS = ['ok', 'clientErrors', 'serverErrors'] as const;

/** The edge: connections that it took, refused (and why), and ended by itself: the client did not take what was sent for it
 *  (stalled), nothing moved for long (idle), or others needed the room (reclaimed). */
export const EDGE_COUNTERS = [
  'opened',
  'refusedAll',
  'refusedDoor',
  'refusedAddress',
  'refusedByStack',
  'stalled',
  'idle',
  'reclaimed',
] as const;
