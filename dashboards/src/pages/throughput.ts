/** Which configuration is how fast, against the paper and against line rate? */
import {
  BigValueTextMode,
  GraphThresholdsStyleConfigBuilder,
  GraphThresholdsStyleMode,
  ScaleDistribution,
  ScaleDistributionConfigBuilder,
} from '@grafana/grafana-foundation-sdk/common';
import { assemble } from '../dashboard.js';
import {
  AMBER,
  coloured,
  configColours,
  dashed,
  GREEN,
  joined,
  LINE_RATES,
  marks,
  matrix,
  PAPER_BASELINE,
  PAPER_OPTIMISED,
  RED,
  UNIT,
  bars,
  grid,
  heat,
  lines,
  number,
  story,
  withMarks,
  duringRun,
  ofRuns,
  result,
  wire,
} from '../panels.js';

const text = `**Which configuration is how fast?** Bars and table show the figures of finished runs; the lines below show the same
while it happens. *Delivered* counts frames whose payload lies in the application's private memory, in bytes with the
Ethernet header. The paper went from **2.9 Gb/s** (\`baseline\`) to **10 Gb/s**, the whole link (\`optimised\`); this machine is
another, so look at the ratio first. Marks in the graphs say when each configuration began to be measured.
**Direction** says what the results are of: frames to the guests (*rx*), from them (*tx*), or another load.
**Run** = *All* shows the latest comparison, and for configurations that it has not finished the ones before it in the time range.`;

const bits = `8 * (${result('grantline_result_bytes_per_second', 'config')})`;

export const throughput = assemble({
  uid: 'grantline-throughput',
  title: 'Grantline: throughput comparison',
  description: 'Which configuration is how fast, against the paper and line rate, and what is lost.',
  story: story('Which configuration is how fast?', text, 6),
  byDirection: true,
  sections: [
    {
      title: 'Results',
      panels: [
        bars(
          { title: 'Delivered, by configuration', unit: UNIT.bits, width: 12, height: 10 },
          'Bits a second that reached the application, of the last finished run of each configuration, slowest first; beside it what the paper measured. The lines are its 2.9 and 10 Gb/s. Longer is better.',
          'config',
          joined('config', { A: 'delivered here', B: 'delivered in the paper' }),
          `sort(${bits})`,
          '8 * max by (config) (grantline_paper_bytes_per_second{config=~"$config"})',
        )
          .thresholds(marks('transparent', [PAPER_BASELINE, AMBER], [PAPER_OPTIMISED, GREEN]))
          .thresholdsStyle(new GraphThresholdsStyleConfigBuilder().mode(GraphThresholdsStyleMode.Dashed))
          .overrideByName('delivered here', coloured('#2280fb'))
          .overrideByName('delivered in the paper', coloured('#8c94a2')),
        number(
          { title: 'Optimised over baseline', unit: UNIT.times, width: 4, height: 5 },
          'How many times faster optimised is than baseline. The paper: 3.4 times. Green from there on; red means that the optimisations do not pay here.',
          marks(RED, [1.5, AMBER], [3.4, GREEN]),
          [
            `max(${result('grantline_result_bytes_per_second', 'config', 'config="optimised"')}) / max(${result('grantline_result_bytes_per_second', 'config', 'config="baseline"')})`,
            'times',
          ],
        ).decimals(1),
        number(
          { title: 'Frames lost', unit: UNIT.count, width: 4, height: 5 },
          'Frames sent and never delivered, over all finished runs shown. With flow control there should be none; without it, loss is what the path could not take.',
          marks(GREEN, [1, RED]),
          [`sum(${result('grantline_result_lost_frames', 'config')})`, 'frames'],
        ),
        number(
          { title: 'Link speed', unit: UNIT.bits, width: 4, height: 5 },
          'Speed at which the far end of the cable may send. 0: unlimited, as fast as the NIC model takes frames.',
          marks('text'),
          ['8 * max(grantline_link_bytes_per_second)', 'link'],
        ),
        number(
          { title: 'Under way', unit: UNIT.none, width: 6, height: 5 },
          'The phase that the experiment is in, for which configuration and direction. Only measure counts; idle: no comparison is running.',
          marks('text'),
          [
            'max by (config, direction, phase) (grantline_phase_info) == 1 or on () label_replace(vector(0), "phase", "idle", "", "")',
            '{{phase}} {{config}} {{direction}}',
          ],
        ).textMode(BigValueTextMode.Name),
        number(
          { title: 'Frame size', unit: UNIT.bytes, width: 3, height: 5 },
          'Mean size of the frames of the run under way, with the Ethernet header and without FCS. Short frames cost as much as long ones each: compare only runs of one size.',
          marks('text'),
          ['max(grantline_experiment_frame_bytes)', 'frame'],
        ).decimals(0),
        number(
          { title: 'Guests in the run', unit: UNIT.none, width: 3, height: 5 },
          'Guests that receive in the run under way; the load is spread evenly over them.',
          marks('text'),
          ['max(grantline_experiment_guests)', 'guests'],
        ),
        bars(
          { title: 'Receive beside transmit, and the other loads', unit: UNIT.bits, width: 24, height: 9 },
          'Delivered bits a second of the last finished runs in every direction that was measured, whatever is chosen at the top. tx beside rx: what the same step of the ladder is worth on the way out. TCP streams count payload, the others frames.',
          'config\\direction',
          matrix('config', 'direction', 'ascending'),
          `8 * (${ofRuns('grantline_result_bytes_per_second', 'config, direction')})`,
        ),
        grid(
          { title: 'Against the paper and line rate', unit: UNIT.bits, width: 24, height: 9 },
          'A row for each configuration. Share of a link: what the delivered frames would fill of it, counting preamble, FCS and the gap between frames (24 bytes each). Over 100 % the path is faster than such a link.',
          joined('config', {
            A: 'delivered',
            B: 'frames delivered',
            C: 'frames offered',
            D: 'lost',
            E: 'share of 10 Gb/s',
            F: 'share of 25 Gb/s',
            G: 'share of 40 Gb/s',
            H: 'share of 100 Gb/s',
          }),
          `sort(${bits})`,
          result('grantline_result_frames_per_second', 'config'),
          result('grantline_result_offered_frames_per_second', 'config'),
          result('grantline_result_lost_frames', 'config'),
          ...LINE_RATES.map((rate) => `(${wire()}) / ${rate}`),
        )
          .overrideByRegexp('/^frames/', [{ id: 'unit', value: UNIT.frames }])
          .overrideByName('lost', [
            { id: 'unit', value: UNIT.count },
            {
              id: 'thresholds',
              value: {
                mode: 'absolute',
                steps: [
                  { value: null, color: 'text' },
                  { value: 1, color: RED },
                ],
              },
            },
            { id: 'custom.cellOptions', value: { type: 'color-text' } },
          ])
          .overrideByRegexp('/^share/', [
            { id: 'unit', value: UNIT.share },
            { id: 'decimals', value: 0 },
            { id: 'min', value: 0 },
            { id: 'max', value: 1 },
            { id: 'custom.cellOptions', value: { type: 'gauge', mode: 'basic' } },
            { id: 'color', value: { mode: 'fixed', fixedColor: '#2280fb' } },
          ]),
      ],
    },
    {
      title: 'While it happens',
      panels: [
        withMarks(
          configColours(
            lines(
              { title: 'Delivered while measured', unit: UNIT.bits, width: 12, height: 10 },
              'Two-second means, only while a configuration is measured: 3 s of measuring give one point or two, so measure longer for a curve. Dashed: links of 10, 25, 40 and 100 Gb/s, and the figures of the paper.',
              [
                duringRun(
                  'config_direction:grantline_delivered_bits:rate2s{config=~"$config",direction=~"$direction"}',
                ),
                '{{config}}',
              ],
              ['8 * max by (config) (grantline_paper_bytes_per_second{config=~"$config"})', 'the paper: {{config}}'],
            ),
          ),
          marks('transparent', ...LINE_RATES.map((rate): [number, string] => [rate, '#8c94a2'])),
        ).overrideByRegexp('/^the paper/', dashed('#8c94a2')),
        lines(
          { title: 'Offered and delivered', unit: UNIT.bits, width: 12, height: 10 },
          'Everything that moves, measured or not. The gap between the lines is frames that wait or are dropped; with flow control the sender is held and the lines lie on each other. In transmit the cable counts what comes out of it, so the lines meet. line rate: what the link can carry of such frames; 0 when it is unlimited.',
          [
            '8 * sum by (direction) (rate(grantline_cable_bytes_total[$__rate_interval]))',
            'offered by the cable, {{direction}}',
          ],
          ['8 * sum(rate(grantline_delivered_bytes_total[$__rate_interval]))', 'delivered to applications'],
          ['8 * sum(rate(grantline_tcp_app_bytes_total{direction="rx"}[$__rate_interval]))', 'taken from TCP streams'],
          ['8 * max(grantline_experiment_line_rate_bytes_per_second)', 'line rate'],
        )
          .overrideByName('line rate', dashed(AMBER))
          .overrideByRegexp('/^offered by the cable/', dashed('#8c94a2'))
          .overrideByName('delivered to applications', coloured('#2280fb')),
        lines(
          { title: 'Dropped', unit: UNIT.frames, width: 12 },
          'Frames dropped anywhere on the path. Zero with flow control. The dashboard Safety and faults says where and why.',
          ['sum(rate(grantline_dropped_frames_total[$__rate_interval]))', 'dropped'],
        ).overrideByName('dropped', coloured(RED)),
        lines(
          { title: 'Sender held by flow control', unit: UNIT.share, width: 12 },
          'Share of the time that the sender had to wait for the path. Near 100 %: the path is the limit. Near 0: the link or the sender is, and the figure says little about the path.',
          ['max(rate(grantline_cable_paused_seconds_total[$__rate_interval]))', 'held'],
        ).max(1),
      ],
    },
    {
      title: 'Latency',
      panels: [
        bars(
          { title: 'Latency by configuration', unit: UNIT.seconds, width: 12 },
          'From sending to delivery, of the last finished runs: half of the frames were faster than 0.5, all but one in a hundred than 0.99. At full load this is the time spent in queues; pace the link (--link) to see the path itself. Logarithmic.',
          'config\\quantile',
          matrix('config', 'quantile', 'ascending').filter((t) => t.id === 'groupingToMatrix'),
          result('grantline_result_latency_seconds', 'config, quantile', 'quantile=~"0.5|0.9|0.99|0.999"'),
        ).scaleDistribution(new ScaleDistributionConfigBuilder().type(ScaleDistribution.Log).log(10)),
        heat(
          { title: 'Latency over time', unit: UNIT.seconds, width: 12 },
          'Each column is a moment, each row a span of latency, brighter where more frames fall. A band that climbs means queues that fill.',
          'sum by (le) (rate(grantline_frame_latency_seconds_bucket[$__rate_interval]))',
        ),
      ],
    },
  ],
});
