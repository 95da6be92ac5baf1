/** What the driver domain counts. tx and rx are the guest's. */
import {
  contained,
  copied,
  copies,
  counters,
  drop,
  hidden,
  level,
  named,
  RX,
  sent,
  shown,
  suppressed,
  TX,
  type Entry,
} from '@grantline/machine';

/** The driver of a NIC queue: in the driver domain of the default queue, in a guest of its own (`direct`). */
export const DRIVER_COUNTERS = counters('driver', {
  frames: shown('grantline_driver_frames_total', RX),
  bytes: shown('grantline_driver_bytes_total', RX),
  errors: shown('grantline_driver_errors_total'),
  notifications: sent('driver'),
  suppressed: suppressed('driver'),
  /** NIC queues of the driver domain that gave up, and were attached anew. */
  reattached: shown('grantline_reattached_queues_total'),
});

const inBridge = (op: string): Entry => shown('grantline_bridge_frames_total', { op });
const address = named('grantline_bridge_addresses_total', 'op');
/** The bridge. inFrames = forwarded + flooded + drops; flooded frames leave as floodCopies. */
export const BRIDGE_COUNTERS = counters('bridge', {
  inFrames: inBridge('received'),
  forwarded: inBridge('forwarded'),
  flooded: inBridge('flooded'),
  floodCopies: inBridge('copied'),
  dropHairpin: drop,
  dropNoPort: drop,
  learned: address,
  aged: address,
});

const asked = (op: string): Entry => shown('grantline_netback_grant_operations_total', { op });
/** What both directions of a vif cost in netback. */
const COST = {
  mapOps: asked('map'),
  unmapOps: asked('unmap'),
  copyOps: asked('copy'),
  localCopies: copies('driver_domain'),
  localCopiedBytes: copied('driver_domain'),
  hypercalls: shown('grantline_netback_hypercalls_total'),
  notifications: sent('netback'),
  suppressed: suppressed('netback'),
  poolGrants: level,
};

/** One vif in netback, guest rx. in = out + drops + in flight. Labels: vif. */
export const NETBACK_COUNTERS = counters('netback', 'vif', {
  /** Those that the NIC put straight into the guest's pages. */
  nicFrames: shown('grantline_netback_received_frames_total', { queue: 'nic' }),
  /** Those that came over the bridge. */
  bridgeFrames: shown('grantline_netback_received_frames_total', { queue: 'bridge' }),
  outFrames: shown('grantline_netback_frames_total', RX),
  outBytes: shown('grantline_netback_bytes_total', RX),
  dropQueueFull: drop,
  dropStalled: drop,
  dropGrantError: drop,
  /** Not among nicFrames. */
  dropNicError: drop,
  dropDisabled: drop,
  requests: shown('grantline_netback_requests_total'),
  badRequests: shown('grantline_ring_faults_total', { reason: 'request' }),
  ringFaults: shown('grantline_ring_faults_total', { reason: 'index' }),
  pinOps: asked('pin'),
  unpinOps: asked('unpin'),
  ...COST,
  /** Exceptions in the work of the vif, receive and transmit: it was disabled. */
  exceptions: contained('netback'),
  /** Standing grants and mappings that the hypervisor did not let go of. */
  keptGrants: shown('grantline_kept_grants_total'),
});

const WAY = hidden('which way a packet took: the dump and the results files tell it');
/** One vif's transmit side in netback. packets = toUplink + toNic + toVif + flooded + drops, when all is at rest;
 *  toUplink + toNic are those that NIC queues took, nicErrors those of them that the NIC refused. Labels: vif. */
export const NETBACK_TX_COUNTERS = counters('netbackTx', 'vif', {
  packets: shown('grantline_netback_frames_total', TX),
  bytes: shown('grantline_netback_bytes_total', TX),
  slots: shown('grantline_netback_requests_total'),
  extras: hidden('extra-info slots, which carry no data'),
  toUplink: WAY,
  toNic: WAY,
  toVif: WAY,
  vifFrames: inBridge('forwarded'),
  flooded: inBridge('flooded'),
  floodUplink: WAY,
  floodCopies: WAY,
  nicErrors: hidden('what the NIC refused stands with the NIC as dropped'),
  vifErrors: hidden('what a vif refused stands with that vif as dropped'),
  dropBadRequest: drop,
  dropTooManySlots: drop,
  dropGrantError: drop,
  dropBadHeader: drop,
  dropSpoofed: drop,
  dropStorm: drop,
  dropHairpin: drop,
  dropNoPort: drop,
  dropNoRoom: drop,
  dropTooLong: drop,
  /** Not answered: all others are, with an error. */
  dropDisabled: drop,
  ringFaults: shown('grantline_ring_faults_total', { reason: 'index' }),
  creditWaits: hidden('how often a vif had to wait for its rate'),
  ...COST,
});
