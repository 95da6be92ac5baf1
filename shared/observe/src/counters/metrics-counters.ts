/** Which counter is shown as which metric. A counter that is missing here does not compile; one that is not to be shown
 *  says why. docs/wire/metrics.md. */
import { GNTST_NAMES } from '@grantline/xen';
import {
  type APP_COUNTERS,
  type BRIDGE_COUNTERS,
  type CAPTURE_COUNTERS,
  type CABLE_COUNTERS,
  type CONTROL_COUNTERS,
  type DRIVER_COUNTERS,
  type HYPERCALL_COUNTERS,
  type NETBACK_COUNTERS,
  type NETFRONT_COUNTERS,
  type NIC_COUNTERS,
  type NIC_QUEUE_COUNTERS,
  type STACK_COUNTERS,
  DRIVER_DOMAIN_CPU,
  GUEST_CPU,
  HYPERVISOR_CPU,
  NIC_CPU,
} from './names.js';
import type { LOOP_COUNTERS } from '@grantline/machine';
import { domainName } from '@grantline/base';
import { FAMILIES, type FamilyName } from './metrics-families.js';
import type { LabelName, Labels } from './metrics-family.js';
import { tap } from './metrics-tap-counters.js';
import { edge, net, tcpApp, web } from './metrics-net-counters.js';
import { faults, requester, responder } from './metrics-rr-counters.js';
import { egress, netbackTx, netfrontTx, nicTx, sender } from './metrics-tx-counters.js';

/** A series that a counter adds to. */
export interface Target {
  readonly family: FamilyName;
  readonly labels: Labels;
  /** From the counter's unit to the metric's: seconds instead of nanoseconds. */
  readonly scale: number;
}

export type Shown = readonly Target[] | { readonly hidden: string };

export interface KindTable {
  /** From the labels of a block to labels of its series; those of the counter come on top. */
  readonly labels: (block: Readonly<Record<string, string>>) => Labels;
  readonly counters: Readonly<Record<string, Shown>>;
}

type Table<N extends readonly string[]> = { readonly [K in N[number]]: Shown };

const RX = { direction: 'rx' } as const;
const to = (family: FamilyName, labels: Labels = {}, scale = 1): [Target] => [{ family, labels, scale }];
const hidden = (why: string): Shown => ({ hidden: why });
const op = (name: string): Labels => ({ op: name });

/** camelCase to snake_case. */
export const snake = (name: string): string => name.replace(/([a-z0-9])([A-Z])/g, '$1_$2').toLowerCase();

const drop = (component: string, reason: string): [Target] =>
  to('grantline_dropped_frames_total', { component, reason });
const sent = (component: string): [Target] => to('grantline_notifications_total', { component });
const suppressed = (component: string): [Target] => to('grantline_notifications_suppressed_total', { component });
const contained = (component: string): [Target] => to('grantline_contained_faults_total', { component });
const faulty = (reason: string): [Target] => to('grantline_faulty_frames_total', { reason });
const copies = (component: string): [Target] => to('grantline_copies_total', { component });
const copied = (component: string): [Target] => to('grantline_copied_bytes_total', { component });
const operation = (name: string): [Target] => to('grantline_grant_operations_total', op(name));
const asked = (name: string): [Target] => to('grantline_netback_grant_operations_total', op(name));
const GAUGE = 'a level, not a count: grantline_pool_grants is read from the pool itself';

const cable: Table<typeof CABLE_COUNTERS> = {
  sentFrames: to('grantline_cable_frames_total', RX),
  sentBytes: to('grantline_cable_bytes_total', RX),
  dropOverrun: drop('cable', 'overrun'),
  pausedNs: to('grantline_cable_paused_seconds_total', {}, 1e-9),
  stationFrames: to('grantline_cable_frames_total', RX),
  stationBytes: to('grantline_cable_bytes_total', RX),
  dropHeld: drop('cable', 'held'),
};
const nic: Table<typeof NIC_COUNTERS> = {
  inFrames: to('grantline_nic_frames_total', RX),
  inBytes: to('grantline_nic_bytes_total', RX),
  dropRunt: drop('nic', 'runt'),
  dropOversize: drop('nic', 'oversize'),
  dropNoQueue: drop('nic', 'no_queue'),
};
const nicQueue: Table<typeof NIC_QUEUE_COUNTERS> = {
  frames: to('grantline_nic_queue_frames_total', RX),
  bytes: to('grantline_nic_queue_bytes_total', RX),
  buffers: to('grantline_nic_queue_buffers_total'),
  dropNoBuffer: drop('nic_queue', 'no_buffer'),
  dropDmaRefused: drop('nic_queue', 'dma_refused'),
  dropBadDescriptor: drop('nic_queue', 'bad_descriptor'),
  dropTooLong: drop('nic_queue', 'too_long'),
  badDescriptors: to('grantline_bad_descriptors_total'),
  dmaRefused: to('grantline_refused_dma_total'),
  notifications: sent('nic_queue'),
  suppressed: suppressed('nic_queue'),
  exceptions: contained('nic_queue'),
  dropFailed: drop('nic_queue', 'failed'),
};
const driver: Table<typeof DRIVER_COUNTERS> = {
  frames: to('grantline_driver_frames_total', RX),
  bytes: to('grantline_driver_bytes_total', RX),
  errors: to('grantline_driver_errors_total'),
  notifications: sent('driver'),
  suppressed: suppressed('driver'),
  reattached: to('grantline_reattached_queues_total'),
};
const bridge: Table<typeof BRIDGE_COUNTERS> = {
  inFrames: to('grantline_bridge_frames_total', op('received')),
  forwarded: to('grantline_bridge_frames_total', op('forwarded')),
  flooded: to('grantline_bridge_frames_total', op('flooded')),
  floodCopies: to('grantline_bridge_frames_total', op('copied')),
  dropHairpin: drop('bridge', 'hairpin'),
  dropNoPort: drop('bridge', 'no_port'),
  learned: to('grantline_bridge_addresses_total', op('learned')),
  aged: to('grantline_bridge_addresses_total', op('aged')),
};
const netback: Table<typeof NETBACK_COUNTERS> = {
  nicFrames: to('grantline_netback_received_frames_total', { queue: 'nic' }),
  bridgeFrames: to('grantline_netback_received_frames_total', { queue: 'bridge' }),
  outFrames: to('grantline_netback_frames_total', RX),
  outBytes: to('grantline_netback_bytes_total', RX),
  dropQueueFull: drop('netback', 'queue_full'),
  dropStalled: drop('netback', 'stalled'),
  dropGrantError: drop('netback', 'grant_error'),
  dropNicError: drop('netback', 'nic_error'),
  dropDisabled: drop('netback', 'disabled'),
  requests: to('grantline_netback_requests_total'),
  badRequests: to('grantline_ring_faults_total', { reason: 'request' }),
  ringFaults: to('grantline_ring_faults_total', { reason: 'index' }),
  pinOps: asked('pin'),
  unpinOps: asked('unpin'),
  mapOps: asked('map'),
  unmapOps: asked('unmap'),
  copyOps: asked('copy'),
  localCopies: copies('driver_domain'),
  localCopiedBytes: copied('driver_domain'),
  hypercalls: to('grantline_netback_hypercalls_total'),
  notifications: sent('netback'),
  suppressed: suppressed('netback'),
  poolGrants: hidden(GAUGE),
  exceptions: contained('netback'),
  keptGrants: to('grantline_kept_grants_total'),
};
type Status = (typeof GNTST_NAMES)[number];
const refusals = Object.fromEntries(
  GNTST_NAMES.map((name): [Status, Shown] => [name, to('grantline_refused_grants_total', { reason: snake(name) })]),
) as Record<Status, Shown>;
const hypercalls: Table<typeof HYPERCALL_COUNTERS> = {
  calls: to('grantline_hypercalls_total'),
  mapOps: operation('map'),
  unmapOps: operation('unmap'),
  copyOps: [...operation('copy'), ...copies('hypervisor')],
  copiedBytes: copied('hypervisor'),
  dmaMapOps: operation('pin'),
  dmaUnmapOps: operation('unpin'),
  cpuNs: to('grantline_hypercall_seconds_total', { component: 'handler' }, 1e-9),
  transportNs: to('grantline_hypercall_seconds_total', { component: 'transport' }, 1e-9),
  ...refusals,
  okay: hidden('what was not refused: grantline_grant_operations_total less grantline_refused_grants_total'),
};
const control: Table<typeof CONTROL_COUNTERS> = {
  connections: hidden('grantline_domain_starts_total tells it by domain'),
  refused: to('grantline_control_refusals_total', { reason: 'connection' }),
  requests: to('grantline_control_requests_total'),
  failedRequests: to('grantline_control_refusals_total', { reason: 'request' }),
  events: to('grantline_control_events_total'),
  garbage: to('grantline_control_refusals_total', { reason: 'garbage' }),
  tooSlow: to('grantline_control_refusals_total', { reason: 'too_slow' }),
};
const netfront: Table<typeof NETFRONT_COUNTERS> = {
  responses: to('grantline_netfront_responses_total'),
  frames: to('grantline_netfront_frames_total', RX),
  bytes: to('grantline_netfront_bytes_total', RX),
  toStack: hidden('the same frames as grantline_stack_frames_total'),
  dropError: drop('netfront', 'error'),
  dropMalformed: drop('netfront', 'malformed'),
  requests: to('grantline_netfront_requests_total'),
  grantsIssued: to('grantline_netfront_grants_total', op('issued')),
  grantsRevoked: to('grantline_netfront_grants_total', op('revoked')),
  quarantined: to('grantline_netfront_grants_total', op('quarantined')),
  notifications: sent('netfront'),
  suppressed: suppressed('netfront'),
  poolGrants: hidden(GAUGE),
  exceptions: contained('netfront'),
};
const stack: Table<typeof STACK_COUNTERS> = {
  inFrames: to('grantline_stack_frames_total'),
  toSocket: hidden('the same frames as grantline_delivered_frames_total'),
  segments: to('grantline_stack_segments_total'),
  coalesced: to('grantline_stack_coalesced_frames_total'),
  dropNotMine: drop('stack', 'not_mine'),
  dropBadHeader: drop('stack', 'bad_header'),
  dropBadChecksum: drop('stack', 'bad_checksum'),
  dropNoSocket: drop('stack', 'no_socket'),
};
const app: Table<typeof APP_COUNTERS> = {
  frames: to('grantline_delivered_frames_total'),
  bytes: to('grantline_delivered_bytes_total'),
  payloadBytes: [...to('grantline_delivered_payload_bytes_total'), ...copied('application')],
  copies: copies('application'),
  corrupt: faulty('corrupt'),
  duplicate: faulty('duplicate'),
  reordered: faulty('reordered'),
  missing: faulty('missing'),
  foreign: faulty('foreign'),
};
const loop: Table<typeof LOOP_COUNTERS> = {
  wakeups: to('grantline_wakeups_total'),
  timeouts: hidden('sleeps that ended by themselves: how the loop waits, not what it does'),
  deepSleeps: hidden('which of two ways the loop sleeps'),
  turns: hidden('how often the event loop gives the data loop a turn'),
  polls: to('grantline_polls_total'),
  damped: to('grantline_damped_ports_total'),
};

/** CPU time of a component. */
const capture: Table<typeof CAPTURE_COUNTERS> = {
  frames: to('grantline_capture_frames_total'),
  bytes: to('grantline_capture_bytes_total'),
  overflow: to('grantline_capture_overflow_frames_total'),
};
const cpuOf = (component: string): Shown => to('grantline_cpu_seconds_total', { component: snake(component) }, 1e-9);
const components = [NIC_CPU, DRIVER_DOMAIN_CPU, GUEST_CPU, HYPERVISOR_CPU].flat();

const none = (): Labels => ({});
const vif = (block: Readonly<Record<string, string>>): Labels => ({ vif: block['vif'] ?? '' });
/** A guest's stack has a vif, the one at the far end of the cable has none. */
const vifIfAny = (block: Readonly<Record<string, string>>): Labels =>
  block['vif'] === undefined ? {} : { vif: block['vif'] };
/** The device at the far end of the cable has no vif. */
const tapLabels = (block: Readonly<Record<string, string>>): Labels =>
  block['device'] === undefined || block['device'] === 'far' ? {} : { vif: block['device'] };
const queue = (block: Readonly<Record<string, string>>): Labels => ({ queue: block['queue'] ?? '' });
const hop = (block: Readonly<Record<string, string>>): Labels => ({ component: block['hop'] ?? '' });
/** What the hypervisor counts for a caller is the caller's. */
const caller = (block: Readonly<Record<string, string>>): Labels => ({ domain: domainName(Number(block['domain'])) });

/** Labels of the series that a counter of a block adds to. What its family does not tell apart is left out, and adds up:
 *  copies by the driver domain are not told by vif. */
export function seriesLabels(table: KindTable, block: Readonly<Record<string, string>>, target: Target): Labels {
  const may: readonly LabelName[] = FAMILIES[target.family].labels;
  const own = Object.entries(table.labels(block)).filter(
    ([name]) => name === 'domain' || may.includes(name as LabelName),
  );
  return { ...Object.fromEntries(own), ...target.labels };
}

/** By kind of block. Latency blocks are no counters: metrics-latency.ts. */
export const COUNTER_TABLE: Readonly<Record<string, KindTable>> = {
  requester: { labels: none, counters: requester },
  responder: { labels: none, counters: responder },
  faults: { labels: (block) => ({ direction: block['direction'] === 'in' ? 'rx' : 'tx' }), counters: faults },
  egress: { labels: none, counters: egress },
  nicTx: { labels: queue, counters: nicTx },
  sender: { labels: vif, counters: sender },
  netfrontTx: { labels: vif, counters: netfrontTx },
  netbackTx: { labels: vif, counters: netbackTx },
  cable: { labels: none, counters: cable },
  nic: { labels: none, counters: nic },
  nicQueue: { labels: queue, counters: nicQueue },
  driver: { labels: none, counters: driver },
  bridge: { labels: none, counters: bridge },
  netback: { labels: vif, counters: netback },
  hypercalls: { labels: caller, counters: hypercalls },
  control: { labels: none, counters: control },
  netfront: { labels: vif, counters: netfront },
  stack: { labels: none, counters: stack },
  net: { labels: vifIfAny, counters: net },
  tap: { labels: tapLabels, counters: tap },
  tcpApp: { labels: vifIfAny, counters: tcpApp },
  web: { labels: vifIfAny, counters: web },
  edge: { labels: none, counters: edge },
  app: { labels: none, counters: app },
  loop: { labels: none, counters: loop },
  capture: { labels: hop, counters: capture },
  cpu: { labels: none, counters: Object.fromEntries(components.map((name) => [name, cpuOf(name)])) },
};
