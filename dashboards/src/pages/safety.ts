/** Is anything wrong: drops, refusals, disabled vifs, restarts? */
import { assemble } from '../dashboard.js';
import {
  AMBER,
  coloured,
  dashed,
  GREEN,
  joined,
  marks,
  RED,
  UNIT,
  grid,
  lines,
  named,
  number,
  states,
  story,
} from '../panels.js';

const text = `**Is anything wrong, and where?** The first row should be all green zeros. Refusals mean that somebody asked for memory that was
not granted to them; the hypervisor and the NIC said no, and everybody else went on. A disabled vif is netback's or netfront's answer to
an impossible ring: that guest is cut off, the others are not. Drops are not faults as such: without flow control a path that
is too slow must drop, and each drop has a reason.`;

/** A count that should be zero. */
function zero(title: string, description: string, expr: string): ReturnType<typeof number> {
  return number({ title, unit: UNIT.none, width: 3 }, description, marks(GREEN, [1, RED]), [expr, title.toLowerCase()]);
}

/** Rises of a counter over the time range. Counters start at 0: what they hold is what happened. */
const risen = (selector: string): string => `sum(round(increase(${selector}[$__range]))) or vector(0)`;

const VIF_STATES = named({
  1: ['Initialising', '#8c94a2'],
  2: ['InitWait', AMBER],
  3: ['Initialised', AMBER],
  4: ['Connected', GREEN],
  5: ['Closing', AMBER],
  6: ['Closed', '#8c94a2'],
});

export const safety = assemble({
  uid: 'grantline-safety',
  title: 'Grantline: safety and faults',
  description: 'Alerts, drops by reason, refused grants and DMA, disabled vifs, domain restarts.',
  story: story('Is anything wrong, and where?', text, 4),
  sections: [
    {
      title: 'Should be zero',
      panels: [
        zero(
          'Alerts firing',
          'Alert rules that fire now. The graph below tells which.',
          'count(ALERTS{alertstate="firing"}) or vector(0)',
        ),
        zero(
          'Targets down',
          'Services that are said to run and do not answer Prometheus.',
          'count(up{job="grantline"} == 0) or vector(0)',
        ),
        zero(
          'Refused grants',
          'Elements of hypercalls that the hypervisor refused, in the time range.',
          risen('grantline_refused_grants_total'),
        ),
        zero(
          'Refused DMA',
          'Transfers that the DMA table did not allow, in the time range.',
          risen('grantline_refused_dma_total'),
        ),
        zero(
          'Disabled vifs',
          'vifs that netback or netfront has cut off, now.',
          'sum(grantline_vif_disabled) or vector(0)',
        ),
        zero(
          'Restarts',
          'Connections of domains beyond the first.',
          'sum(clamp_min(max by (domain) (grantline_domain_starts_total) - 1, 0)) or vector(0)',
        ),
        zero(
          'Quarantined pages',
          'Pages that a peer did not let go of, in the time range; never used again.',
          risen('grantline_netfront_grants_total{op="quarantined"}'),
        ),
        zero(
          'Bad frames',
          'Delivered frames that were corrupt, duplicate or of another guest, in the time range.',
          risen('grantline_faulty_frames_total{reason=~"corrupt|duplicate|foreign"}'),
        ),
      ],
    },
    {
      title: 'Over time',
      panels: [
        lines(
          { title: 'Alerts', unit: UNIT.none, width: 12 },
          'How many instances of each alert fire. Only the line "none" at 0: all is well.',
          [
            'count by (alertname) (ALERTS{alertstate="firing"}) or on () label_replace(vector(0), "alertname", "none", "", "")',
            '{{alertname}}',
          ],
        ),
        lines(
          { title: 'Sent, delivered, dropped', unit: UNIT.frames, width: 12 },
          'Conservation as rates: sent = delivered + dropped, but for what is in flight. Lines that part for longer than a moment are frames that nobody counted; every run checks it exactly.',
          ['sum(rate(grantline_cable_frames_total[$__rate_interval]))', 'sent'],
          ['sum(rate(grantline_delivered_frames_total[$__rate_interval]))', 'delivered'],
          ['sum(rate(grantline_dropped_frames_total[$__rate_interval]))', 'dropped'],
        )
          .overrideByName('sent', dashed('#8c94a2'))
          .overrideByName('delivered', coloured('#2280fb'))
          .overrideByName('dropped', coloured(RED)),
        lines(
          { title: 'Dropped frames, by place and reason', unit: UNIT.frames, width: 12, height: 10 },
          'Every drop counter of the path. no_buffer at a NIC queue: the guest is slower than the link. queue_full and stalled at netback: the guest takes nothing. disabled: its vif was cut off.',
          [
            'sum by (component, reason) (rate(grantline_dropped_frames_total{domain=~"$domain"}[$__rate_interval]))',
            '{{component}}: {{reason}}',
          ],
        ),
        grid(
          { title: 'Drops in the time range', unit: UNIT.count, width: 12, height: 10 },
          'Frames dropped at each place for each reason, most first. All zero is normal with flow control.',
          [
            { id: 'filterFieldsByName', options: { include: { names: ['component', 'reason', 'Value'] } } },
            {
              id: 'organize',
              options: { renameByName: { Value: 'frames' }, indexByName: { component: 0, reason: 1, Value: 2 } },
            },
          ],
          'sort_desc(sum by (component, reason) (round(increase(grantline_dropped_frames_total{domain=~"$domain"}[$__range]))))',
        ),
      ],
    },
    {
      title: 'Refusals and faults',
      panels: [
        lines(
          { title: 'Refused grants and requests, by reason', unit: UNIT.perSecond, width: 12 },
          'Status with which the hypervisor refused: bad_gntref (no such grant), permission_denied (granted to somebody else), and so on. control: what the hypervisor turned away at its sockets. Zero but for attacks, and for calls that a dying domain could not finish.',
          [
            'sum by (domain, reason) (rate(grantline_refused_grants_total{domain=~"$domain"}[$__rate_interval]))',
            '{{domain}}: {{reason}}',
          ],
          ['sum by (reason) (rate(grantline_control_refusals_total[$__rate_interval]))', 'control: {{reason}}'],
        ),
        lines(
          { title: 'Refused DMA and bad descriptors, by queue', unit: UNIT.perSecond, width: 12 },
          'Buffers with which a queue owner tried to make the NIC write where it may not, or that are none. The frame goes into the next buffer.',
          ['sum by (queue) (rate(grantline_refused_dma_total[$__rate_interval]))', 'refused DMA: {{queue}}'],
          ['sum by (queue) (rate(grantline_bad_descriptors_total[$__rate_interval]))', 'bad descriptors: {{queue}}'],
        ),
        lines(
          { title: 'Impossible requests and indices on rings', unit: UNIT.perSecond, width: 12 },
          'What netback found on shared rings that cannot be. An impossible index disables the vif at once.',
          ['sum by (vif, reason) (rate(grantline_ring_faults_total[$__rate_interval]))', '{{vif}}: {{reason}}'],
        ),
        lines(
          { title: 'Sent and refused by policy', unit: UNIT.frames, width: 12 },
          'Frames of guests that the driver domain or the NIC did not pass on. spoofed: the source address of another machine. storm: more broadcast than its share. hairpin: to itself. Zero but for guests that misbehave.',
          [
            'sum by (component, reason) (rate(grantline_dropped_frames_total{component=~"netback_transmit|nic_transmit",reason=~"spoofed|storm|hairpin"}[$__rate_interval]))',
            '{{component}}: {{reason}}',
          ],
        ),
        lines(
          { title: 'Faults injected on the cable', unit: UNIT.frames, width: 12 },
          'What the injector did to frames on purpose (--faults), by direction and kind. All zero: it is off. With it on, loss and retransmission elsewhere are its doing.',
          ['sum by (direction, op) (rate(grantline_injected_faults_total[$__rate_interval]))', '{{direction}}: {{op}}'],
        ),
        lines(
          { title: 'Faulty frames found by receivers', unit: UNIT.frames, width: 12 },
          'missing: lost on the way, by sequence number. corrupt, duplicate, foreign: must not happen. reordered: two ways into a guest can overtake each other; zero within one queue.',
          ['sum by (reason) (rate(grantline_faulty_frames_total{domain=~"$domain"}[$__rate_interval]))', '{{reason}}'],
        ),
      ],
    },
    {
      title: 'States',
      panels: [
        states(
          { title: 'Domains', unit: UNIT.none, width: 12, height: 10 },
          'Green: running. A red stretch is a domain that died; it ends when the domain comes back.',
          named({ 0: ['down', RED], 1: ['running', GREEN] }),
          ['max by (domain) (grantline_domain_up{domain=~"$domain"})', '{{domain}}'],
        ),
        states(
          { title: 'vifs, both ends', unit: UNIT.none, width: 12, height: 10 },
          'XenbusState of backend and frontend. Green: connected. Short amber: a change of configuration, step by step. Grey for long: not connected; in native that is right, the guests are not used.',
          VIF_STATES,
          ['max by (vif, component) (grantline_vif_state)', '{{vif}} {{component}}'],
        ),
        states(
          { title: 'vifs cut off', unit: UNIT.none, width: 12 },
          'Red: netback or netfront refused what the other side did and cut the vif off. Others go on.',
          named({ 0: ['in order', GREEN], 1: ['disabled', RED] }),
          ['max by (vif) (grantline_vif_disabled)', '{{vif}}'],
        ),
        grid(
          { title: 'Services', unit: UNIT.count, width: 12 },
          'One row for each domain: its build, memory, CPU time since its start, and how often it connected. Two revisions side by side are two builds in one testbed.',
          joined('domain', { B: 'resident', C: 'heap', D: 'outside the heap', E: 'CPU time', F: 'started' }, [
            'version',
            'revision',
            'node',
          ]),
          'max by (domain, version, revision, node) (grantline_build_info)',
          'max by (domain) (process_resident_memory_bytes)',
          'max by (domain) (nodejs_heap_size_used_bytes)',
          'max by (domain) (nodejs_external_memory_bytes)',
          'max by (domain) (process_cpu_seconds_total)',
          'max by (domain) (process_start_time_seconds) * 1000',
        )
          .overrideByRegexp('/^(resident|heap|outside the heap)$/', [{ id: 'unit', value: UNIT.bytes }])
          .overrideByName('CPU time', [{ id: 'unit', value: UNIT.seconds }])
          .overrideByName('started', [{ id: 'unit', value: UNIT.moment }]),
      ],
    },
  ],
});
