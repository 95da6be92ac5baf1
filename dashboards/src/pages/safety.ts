/** Is anything wrong: drops, refusals, disabled vifs, restarts? */
import { assemble } from '../dashboard.js';
import { AMBER, coloured, dashed, GREEN, joined, latest, marks, RED, rows, series, UNIT, type Told } from '../kit.js';
import { grid, lines, named, number, states, story } from '../panels.js';

const text = `**Is anything wrong, and where?** The first row should be all green zeros. Refusals mean that somebody asked for memory that was
not granted to them; the hypervisor and the NIC said no, and everybody else went on. A disabled vif is netback's or netfront's answer to
an impossible ring: that guest is cut off, the others are not. Drops are not faults as such: without flow control a path that
is too slow must drop, and each drop has a reason.`;

/** A count that should be zero. */
function zero(title: string, description: string, expr: string): ReturnType<typeof number> {
  const told: Told = { title, description, unit: UNIT.none, width: 3 };
  return number(told, marks(GREEN, [1, RED]), () => [latest(expr, title.toLowerCase())]);
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
          {
            title: 'Alerts',
            description: 'How many instances of each alert fire. Only the line "none" at 0: all is well.',
            unit: UNIT.none,
            width: 12,
          },
          () => [
            series(
              'count by (alertname) (ALERTS{alertstate="firing"}) or on () label_replace(vector(0), "alertname", "none", "", "")',
              '{{alertname}}',
            ),
          ],
        ),
        lines(
          {
            title: 'Sent, delivered, dropped',
            description:
              'Conservation as rates: sent = delivered + dropped, but for what is in flight. Lines that part for longer than a moment are frames that nobody counted; every run checks it exactly.',
            unit: UNIT.frames,
            width: 12,
          },
          () => [
            series('sum(rate(grantline_cable_frames_total[$__rate_interval]))', 'sent'),
            series('sum(rate(grantline_delivered_frames_total[$__rate_interval]))', 'delivered'),
            series('sum(rate(grantline_dropped_frames_total[$__rate_interval]))', 'dropped'),
          ],
        )
          .overrideByName('sent', dashed('#8c94a2'))
          .overrideByName('delivered', coloured('#2280fb'))
          .overrideByName('dropped', coloured(RED)),
        lines(
          {
            title: 'Dropped frames, by place and reason',
            description:
              'Every drop counter of the path. no_buffer at a NIC queue: the guest is slower than the link. queue_full and stalled at netback: the guest takes nothing. disabled: its vif was cut off.',
            unit: UNIT.frames,
            width: 12,
            height: 10,
          },
          () => [
            series(
              'sum by (component, reason) (rate(grantline_dropped_frames_total{domain=~"$domain"}[$__rate_interval]))',
              '{{component}}: {{reason}}',
            ),
          ],
        ),
        grid(
          {
            title: 'Drops in the time range',
            description:
              'Frames dropped at each place for each reason, most first. All zero is normal with flow control.',
            unit: UNIT.count,
            width: 12,
            height: 10,
          },
          [
            { id: 'filterFieldsByName', options: { include: { names: ['component', 'reason', 'Value'] } } },
            {
              id: 'organize',
              options: { renameByName: { Value: 'frames' }, indexByName: { component: 0, reason: 1, Value: 2 } },
            },
          ],
          () => [
            rows(
              'sort_desc(sum by (component, reason) (round(increase(grantline_dropped_frames_total{domain=~"$domain"}[$__range]))))',
            ),
          ],
        ),
      ],
    },
    {
      title: 'Refusals and faults',
      panels: [
        lines(
          {
            title: 'Refused grants and requests, by reason',
            description:
              'Status with which the hypervisor refused: bad_gntref (no such grant), permission_denied (granted to somebody else), and so on. control: what the hypervisor turned away at its sockets. Zero but for attacks, and for calls that a dying domain could not finish.',
            unit: UNIT.perSecond,
            width: 12,
          },
          () => [
            series(
              'sum by (domain, reason) (rate(grantline_refused_grants_total{domain=~"$domain"}[$__rate_interval]))',
              '{{domain}}: {{reason}}',
            ),
            series('sum by (reason) (rate(grantline_control_refusals_total[$__rate_interval]))', 'control: {{reason}}'),
          ],
        ),
        lines(
          {
            title: 'Refused DMA and bad descriptors, by queue',
            description:
              'Buffers with which a queue owner tried to make the NIC write where it may not, or that are none. The frame goes into the next buffer.',
            unit: UNIT.perSecond,
            width: 12,
          },
          () => [
            series('sum by (queue) (rate(grantline_refused_dma_total[$__rate_interval]))', 'refused DMA: {{queue}}'),
            series(
              'sum by (queue) (rate(grantline_bad_descriptors_total[$__rate_interval]))',
              'bad descriptors: {{queue}}',
            ),
          ],
        ),
        lines(
          {
            title: 'Impossible requests and indices on rings',
            description:
              'What netback found on shared rings that cannot be. An impossible index disables the vif at once.',
            unit: UNIT.perSecond,
            width: 12,
          },
          () => [
            series('sum by (vif, reason) (rate(grantline_ring_faults_total[$__rate_interval]))', '{{vif}}: {{reason}}'),
          ],
        ),
        lines(
          {
            title: 'Sent and refused by policy',
            description:
              'Frames of guests that the driver domain or the NIC did not pass on. spoofed: the source address of another machine. storm: more broadcast than its share. hairpin: to itself. Zero but for guests that misbehave.',
            unit: UNIT.frames,
            width: 12,
          },
          () => [
            series(
              'sum by (component, reason) (rate(grantline_dropped_frames_total{component=~"netback_transmit|nic_transmit",reason=~"spoofed|storm|hairpin"}[$__rate_interval]))',
              '{{component}}: {{reason}}',
            ),
          ],
        ),
        lines(
          {
            title: 'Faults injected on the cable',
            description:
              'What the injector did to frames on purpose (--faults), by direction and kind. All zero: it is off. With it on, loss and retransmission elsewhere are its doing.',
            unit: UNIT.frames,
            width: 12,
          },
          () => [
            series(
              'sum by (direction, op) (rate(grantline_injected_faults_total[$__rate_interval]))',
              '{{direction}}: {{op}}',
            ),
          ],
        ),
        lines(
          {
            title: 'Faulty frames found by receivers',
            description:
              'missing: lost on the way, by sequence number. corrupt, duplicate, foreign: must not happen. reordered: two ways into a guest can overtake each other; zero within one queue.',
            unit: UNIT.frames,
            width: 12,
          },
          () => [
            series(
              'sum by (reason) (rate(grantline_faulty_frames_total{domain=~"$domain"}[$__rate_interval]))',
              '{{reason}}',
            ),
          ],
        ),
      ],
    },
    {
      title: 'States',
      panels: [
        states(
          {
            title: 'Domains',
            description: 'Green: running. A red stretch is a domain that died; it ends when the domain comes back.',
            unit: UNIT.none,
            width: 12,
            height: 10,
          },
          named({ 0: ['down', RED], 1: ['running', GREEN] }),
          () => [series('max by (domain) (grantline_domain_up{domain=~"$domain"})', '{{domain}}')],
        ),
        states(
          {
            title: 'vifs, both ends',
            description:
              'XenbusState of backend and frontend. Green: connected. Short amber: a change of configuration, step by step. Grey for long: not connected; in native that is right, the guests are not used.',
            unit: UNIT.none,
            width: 12,
            height: 10,
          },
          VIF_STATES,
          () => [series('max by (vif, component) (grantline_vif_state)', '{{vif}} {{component}}')],
        ),
        states(
          {
            title: 'vifs cut off',
            description: 'Red: netback or netfront refused what the other side did and cut the vif off. Others go on.',
            unit: UNIT.none,
            width: 12,
          },
          named({ 0: ['in order', GREEN], 1: ['disabled', RED] }),
          () => [series('max by (vif) (grantline_vif_disabled)', '{{vif}}')],
        ),
        grid(
          {
            title: 'Services',
            description:
              'One row for each domain: its build, memory, CPU time since its start, and how often it connected. Two revisions side by side are two builds in one testbed.',
            unit: UNIT.count,
            width: 12,
          },
          joined('domain', { B: 'resident', C: 'heap', D: 'outside the heap', E: 'CPU time', F: 'started' }, [
            'version',
            'revision',
            'node',
          ]),
          () => [
            rows('max by (domain, version, revision, node) (grantline_build_info)'),
            rows('max by (domain) (process_resident_memory_bytes)'),
            rows('max by (domain) (nodejs_heap_size_used_bytes)'),
            rows('max by (domain) (nodejs_external_memory_bytes)'),
            rows('max by (domain) (process_cpu_seconds_total)'),
            rows('max by (domain) (process_start_time_seconds) * 1000'),
          ],
        )
          .overrideByRegexp('/^(resident|heap|outside the heap)$/', [{ id: 'unit', value: UNIT.bytes }])
          .overrideByName('CPU time', [{ id: 'unit', value: UNIT.seconds }])
          .overrideByName('started', [{ id: 'unit', value: UNIT.moment }]),
      ],
    },
  ],
});
