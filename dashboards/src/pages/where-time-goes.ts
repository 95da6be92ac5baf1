/** Where does the CPU time of a frame go, and who is the bottleneck? */
import { StackingMode, VizOrientation } from '@grafana/grafana-foundation-sdk/common';
import { assemble } from '../dashboard.js';
import {
  configColours,
  marks,
  matrix,
  placeColours,
  RED,
  UNIT,
  bars,
  lines,
  stacked,
  story,
  withMarks,
  duringRun,
  result,
} from '../panels.js';

const text = `**Where does the CPU time of a frame go?** In the paper, each optimisation takes work out of the driver domain
until the guest is the busier of the two. Read the first row from the longest bar to the shortest: which part shrinks from one
configuration to the next, and which part is left? Then the operations: a grant operation, a copy or a hypercall that is no
longer made for each frame is where the time went. Left out: the NIC model (it stands for hardware) and looking for work
when there is none (*idle*). **Direction** chooses the ladder: to the
guests (*rx*), from them (*tx*), or another load. docs/measuring.md has the method.`;

const cpu = result(
  'grantline_result_cpu_seconds_per_frame',
  'config, component',
  'component!~"nic\\\\..*|.*\\\\.idle"',
);

/** CPU per frame by configuration and place: driver_domain, hypervisor, guest. */
const cpuByPlace = `sum by (config, place) (label_replace(${cpu}, "place", "$1", "component", "([^.]+)\\\\..*"))`;

export const whereTimeGoes = assemble({
  uid: 'grantline-where-time-goes',
  title: 'Grantline: where the time goes',
  description: 'CPU time of a frame by component and domain, and the operations behind it, by configuration.',
  story: story('Where does the CPU time of a frame go?', text, 6),
  byDirection: true,
  sections: [
    {
      title: 'Cost of a delivered frame, by configuration',
      panels: [
        placeColours(
          bars(
            { title: 'CPU time per frame, by place', unit: UNIT.seconds, width: 12, height: 10 },
            'CPU seconds that driver domain, hypervisor and guests together spent for one delivered frame, in finished runs, dearest first. Shorter is better.',
            'config\\place',
            matrix('config', 'place', 'descending'),
            cpuByPlace,
          ),
        ).stacking(StackingMode.Normal),
        placeColours(
          bars(
            { title: 'Who is the bottleneck', unit: UNIT.share, width: 12, height: 10 },
            'The same as shares of the whole. The busier side limits the path: the bottleneck moves from the driver domain to the guest as the optimisations come in.',
            'config\\place',
            matrix('config', 'place', 'ascending').filter((t) => t.id === 'groupingToMatrix'),
            `(${cpuByPlace}) / on (config) group_left () sum by (config) (${cpu})`,
          ),
        )
          .stacking(StackingMode.Normal)
          .max(1),
        bars(
          { title: 'CPU time per frame, by component', unit: UNIT.seconds, width: 24, height: 12 },
          'The same bar cut finer. driver_domain.netback and .bridge vanish with multi-queue; hypervisor.hypercalls and .transport with grant reuse; guest.stack shrinks with coalescing. guest.application copies and verifies in every configuration alike.',
          'config\\component',
          matrix('config', 'component', 'descending'),
          cpu,
        )
          .stacking(StackingMode.Normal)
          .orientation(VizOrientation.Horizontal),
      ],
    },
    {
      title: 'Operations behind it, for each delivered frame',
      panels: [
        bars(
          { title: 'Grant operations, copies and hypercalls per frame', unit: UNIT.none, width: 12, height: 10 },
          'Of finished runs. baseline makes one grant copy for each frame; multiqueue lets the NIC in and out again instead, two operations; with grant reuse nothing of it is left in steady state. The copy that stays is the application taking the payload.',
          'config\\op',
          matrix('config', 'op', 'descending'),
          result('grantline_result_operations_per_frame', 'config, op', 'op=~"grant_ops|copies|hypercalls"'),
        ).decimals(2),
        bars(
          { title: 'Notifications and wake-ups per frame', unit: UNIT.none, width: 12, height: 10 },
          'Of finished runs. Below 1: one ring of the doorbell served several frames. suppressed: times that it needed not be rung, because the other side was awake.',
          'config\\op',
          matrix('config', 'op', 'descending'),
          result('grantline_result_operations_per_frame', 'config, op', 'op=~"notifications|suppressed|wakeups"'),
        ).decimals(2),
      ],
    },
    {
      title: 'While it happens',
      panels: [
        withMarks(
          lines(
            { title: 'Cores in use, by domain', unit: UNIT.cores, width: 12, height: 10 },
            'CPU seconds per second of each data thread and its helpers, without looking for work in vain. A domain at 1 core is full: it is the bottleneck. It moves when the configuration does.',
            [
              'sum by (domain) (rate(grantline_cpu_seconds_total{component!="idle",domain=~"$domain"}[$__rate_interval]))',
              '{{domain}}',
            ],
          ),
          marks('transparent', [1, RED]),
        ),
        stacked(
          { title: 'CPU time per frame while measured, by component', unit: UNIT.seconds, width: 12, height: 10 },
          'Live counterpart of the bars above, from the series: two-second means while a configuration is measured.',
          [
            duringRun(
              'sum by (domain, component) (config_direction_domain_component:grantline_cpu_seconds_per_frame:ratio_rate2s{config=~"$config",direction=~"$direction",domain=~"$domain",domain!="nic",component!="idle"})',
            ),
            '{{domain}} {{component}}',
          ],
        ),
        configColours(
          lines(
            { title: 'Operations per frame while measured', unit: UNIT.none, width: 12, height: 10 },
            'Grant operations, copies and hypercalls for each delivered frame, named after the configuration. Lines that fall to zero are operations that a configuration does without.',
            [
              duringRun(
                'sum by (config) (config_direction_op:grantline_grant_operations_per_frame:ratio_rate2s{config=~"$config",direction=~"$direction"})',
              ),
              '{{config}} grant operations',
            ],
            [
              duringRun(
                'sum by (config) (config_direction_component:grantline_copies_per_frame:ratio_rate2s{config=~"$config",direction=~"$direction"})',
              ),
              '{{config}} copies',
            ],
            [
              duringRun(
                'sum by (config) (config_direction:grantline_hypercalls_per_frame:ratio_rate2s{config=~"$config",direction=~"$direction"})',
              ),
              '{{config}} hypercalls',
            ],
          ),
        ),
        stacked(
          { title: 'Hypervisor: time for hypercalls, by caller', unit: UNIT.cores, width: 12, height: 10 },
          'CPU seconds per second. handler: checking and doing what was asked. transport: the message around it, which real hardware does not have. Zero in steady state once grants are reused.',
          [
            'sum by (domain, component) (rate(grantline_hypercall_seconds_total{domain=~"$domain"}[$__rate_interval]))',
            '{{domain}} {{component}}',
          ],
        ),
      ],
    },
  ],
});
