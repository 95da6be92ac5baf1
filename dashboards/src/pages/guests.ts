/** What does each guest get, and is it fair as guests grow? */
import { assemble } from '../dashboard.js';
import {
  AMBER,
  coloured,
  GREEN,
  joined,
  marks,
  RED,
  UNIT,
  grid,
  lines,
  number,
  stacked,
  story,
  withMarks,
} from '../panels.js';

const text = `**What does each guest get, and is it fair?** The load is spread evenly, so every guest should get the same. As guests are
added (\`docker compose up --scale guest=4\`, \`grantline compare --guests 4\`) the sum should hold and the shares fall evenly; where the sum
falls, the path pays for each guest. In \`native\` the application sits in the driver domain: guests get nothing, rightly.`;

export const guests = assemble({
  uid: 'grantline-guests',
  title: 'Grantline: guests',
  description: 'Rates, fairness, latency and cost of each guest, as guests grow.',
  story: story('What does each guest get, and is it fair?', text, 4),
  sections: [
    {
      title: 'Together',
      panels: [
        number(
          { title: 'Guests running', unit: UNIT.none, width: 4 },
          'Guests that are connected to the hypervisor. Red: none.',
          marks(RED, [1, GREEN]),
          ['count(grantline_domain_up{domain=~"guest.*"} == 1) or vector(0)', 'guests'],
        ),
        number(
          { title: 'Fairness, lowest in the range', unit: UNIT.share, width: 4 },
          "Jain's index over the guests that receive: 1 is even, one over the number of guests means that one takes all. The lowest in the time range; the first seconds of a run count too.",
          marks(RED, [0.6, AMBER], [0.9, GREEN]),
          ['min_over_time(testbed:grantline_guest_fairness:ratio[$__range])', 'fairness'],
        ).decimals(0),
        number(
          { title: 'Largest and smallest share now', unit: UNIT.bits, width: 8 },
          'What the busiest and the least busy of the guests chosen get, in bits a second. 0 when nothing runs.',
          marks('text'),
          [guestBits('max', '{domain=~"guest.*",domain=~"$domain"}'), 'largest'],
          [guestBits('min', '{domain=~"guest.*",domain=~"$domain"}'), 'smallest'],
        ),
        number(
          { title: 'Guests lost or come back', unit: UNIT.none, width: 8 },
          'Connections of guests beyond the first: restarts. Zero is right in an undisturbed testbed.',
          marks(GREEN, [1, RED]),
          [
            'sum(clamp_min(max by (domain) (grantline_domain_starts_total{domain=~"guest.*"}) - 1, 0)) or vector(0)',
            'restarts',
          ],
        ),
        stacked(
          { title: 'Delivered, by guest', unit: UNIT.bits, width: 12, height: 10 },
          'Each area is a guest, the upper edge the sum. Even layers are fair; an upper edge that stays as guests are added means that the path scales.',
          [
            '8 * sum by (domain) (rate(grantline_delivered_bytes_total{domain=~"guest.*",domain=~"$domain"}[$__rate_interval]))',
            '{{domain}}',
          ],
        ),
        lines(
          { title: 'Sum and number of guests', unit: UNIT.bits, width: 12, height: 10 },
          'How the sum moves when guests come and go. Right axis: guests running. The sum should not fall when the number grows.',
          ['8 * sum(rate(grantline_delivered_bytes_total[$__rate_interval]))', 'delivered, all'],
          ['count(grantline_domain_up{domain=~"guest.*"} == 1) or vector(0)', 'guests running'],
        )
          .overrideByName('delivered, all', coloured('#2280fb'))
          .overrideByName('guests running', [
            ...coloured('#8c94a2'),
            { id: 'unit', value: UNIT.none },
            { id: 'decimals', value: 0 },
            { id: 'custom.axisPlacement', value: 'right' },
            { id: 'custom.lineInterpolation', value: 'stepAfter' },
            { id: 'custom.fillOpacity', value: 0 },
          ]),
      ],
    },
    {
      title: 'Fairness',
      panels: [
        withMarks(
          lines(
            { title: 'Fairness of guests', unit: UNIT.share, width: 12 },
            "Jain's index over guests that received anything in the last half minute. 1: all get the same. Below the line: some wait for others. No line: nothing is being received.",
            ['testbed:grantline_guest_fairness:ratio', 'fairness'],
          ).max(1),
          marks('transparent', [0.9, AMBER]),
        ),
        lines(
          { title: "Each guest's share of an even one", unit: UNIT.share, width: 12 },
          '100 %: exactly its part. The spread between the lines is the unfairness; the line at the bottom is the guest to look at.',
          [
            'guest:grantline_receiving_bits:rate4s{domain=~"$domain"} / on () group_left () (avg(guest:grantline_receiving_bits:rate4s) > 0)',
            '{{domain}}',
          ],
        ),
      ],
    },
    {
      title: 'Each',
      panels: [
        lines(
          { title: 'Latency, 99 of 100 frames are faster', unit: UNIT.seconds, width: 12 },
          'From sending to delivery, from the histogram (its steps double, so read it as an order of magnitude). A guest far above the others waits for its turn.',
          [
            'histogram_quantile(0.99, sum by (domain, le) (rate(grantline_frame_latency_seconds_bucket{domain=~"$domain"}[$__rate_interval])))',
            '{{domain}}',
          ],
        ),
        withMarks(
          lines(
            { title: 'Cores in use, by guest', unit: UNIT.cores, width: 12 },
            'CPU seconds per second of each guest, without looking for work in vain. At 1 the guest is its own limit.',
            [
              'sum by (domain) (rate(grantline_cpu_seconds_total{component!="idle",domain=~"guest.*",domain=~"$domain"}[$__rate_interval]))',
              '{{domain}}',
            ],
          ),
          marks('transparent', [1, RED]),
        ),
        lines(
          { title: 'Frames merged by the stack', unit: UNIT.share, width: 12 },
          'Share of the frames that large receive offload merged into another before the application saw them. 0 where it is off (all but optimised, direct and native).',
          [
            'sum by (domain) (rate(grantline_stack_coalesced_frames_total{domain=~"$domain"}[$__rate_interval])) / (sum by (domain) (rate(grantline_stack_frames_total{domain=~"$domain"}[$__rate_interval])) > 0)',
            '{{domain}}',
          ],
        ).max(1),
        lines(
          { title: 'Dropped, by domain that counts it', unit: UNIT.frames, width: 12 },
          'Frames dropped in each domain. What is dropped for a guest before it (netback, NIC) counts there.',
          ['sum by (domain) (rate(grantline_dropped_frames_total{domain=~"$domain"}[$__rate_interval]))', '{{domain}}'],
        ),
        grid(
          { title: 'Guests at a glance', unit: UNIT.count, width: 24 },
          'Over the time range: what each domain chosen received, what was wrong with it, and how often it connected. Faulty counts what the receiver found: missing frames, and any that are corrupt, duplicate or reordered.',
          joined('domain', { A: 'running', B: 'frames', C: 'bytes', D: 'faulty', E: 'connections' }),
          'max by (domain) (grantline_domain_up{domain=~"guest.*",domain=~"$domain"})',
          'sum by (domain) (increase(grantline_delivered_frames_total{domain=~"guest.*",domain=~"$domain"}[$__range]))',
          'sum by (domain) (increase(grantline_delivered_bytes_total{domain=~"guest.*",domain=~"$domain"}[$__range]))',
          'sum by (domain) (increase(grantline_faulty_frames_total{domain=~"guest.*",domain=~"$domain"}[$__range]))',
          'max by (domain) (grantline_domain_starts_total{domain=~"guest.*",domain=~"$domain"})',
        )
          .overrideByName('bytes', [{ id: 'unit', value: UNIT.bytes }])
          .overrideByName('running', [
            {
              id: 'mappings',
              value: [
                {
                  type: 'value',
                  options: { 0: { text: 'no', color: RED, index: 0 }, 1: { text: 'yes', color: GREEN, index: 1 } },
                },
              ],
            },
            { id: 'custom.cellOptions', value: { type: 'color-text' } },
          ]),
      ],
    },
  ],
});

function guestBits(of: 'max' | 'min', selector: string): string {
  return `${of}(domain:grantline_delivered_bits:rate4s${selector}) or vector(0)`;
}
