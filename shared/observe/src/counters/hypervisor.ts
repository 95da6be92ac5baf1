/** What the hypervisor counts. */
import { GNTST_NAMES } from '@grantline/xen';
import { both, copied, copies, counters, hidden, named, shown, type Entry } from '@grantline/machine';

const operation = (op: string): Entry => shown('grantline_grant_operations_total', { op });
const refused = named('grantline_refused_grants_total', 'reason');
type Status = (typeof GNTST_NAMES)[number];

/** Hypercalls of one domain. Labels: domain. What is counted for a caller is shown as the caller's. */
export const HYPERCALL_COUNTERS = counters('hypercalls', 'domain', {
  calls: shown('grantline_hypercalls_total'),
  mapOps: operation('map'),
  unmapOps: operation('unmap'),
  copyOps: both(operation('copy'), copies('hypervisor')),
  copiedBytes: copied('hypervisor'),
  dmaMapOps: operation('pin'),
  dmaUnmapOps: operation('unpin'),
  /** Time in the handlers. */
  cpuNs: shown('grantline_hypercall_seconds_total', { component: 'handler' }),
  /** This domain's share of the time that its messages cost outside the handlers. */
  transportNs: shown('grantline_hypercall_seconds_total', { component: 'transport' }),
  ...(Object.fromEntries(GNTST_NAMES.map((name) => [name, refused])) as Record<Status, Entry>),
  okay: hidden('what was not refused: grantline_grant_operations_total less grantline_refused_grants_total'),
});

const turnedAway = (reason: string): Entry => shown('grantline_control_refusals_total', { reason });
/** The hypervisor's sockets. refused: connections turned away; garbage, tooSlow: closed for it. */
export const CONTROL_COUNTERS = counters('control', {
  connections: hidden('grantline_domain_starts_total tells it by domain'),
  refused: turnedAway('connection'),
  requests: shown('grantline_control_requests_total'),
  failedRequests: turnedAway('request'),
  events: shown('grantline_control_events_total'),
  garbage: turnedAway('garbage'),
  tooSlow: turnedAway('too_slow'),
});
