/** The tables: measured configurations, guests, and throughput as figures. */
import { byId, putTable, setText, type Cell } from './dom.js';
import {
  clock,
  configOf,
  counted,
  dropName,
  gbps,
  linkText,
  loss,
  mega,
  micros,
  named,
  percent,
  small,
  whole,
} from './format.js';
import type { BedState, Facts, Point, Sample } from './messages.js';
import { vifText } from './path-view.js';

const num = (value: number | undefined, text: (x: number) => string): Cell =>
  value === undefined ? { text: '-' } : { text: text(value), value };

/** The figures of the record of each configuration's median run; data-value has them unrounded. */
export function drawResults(facts: Facts, state: BedState): void {
  const { finished, experiment } = state;
  const first = finished[0];
  setText(
    byId('results-sub'),
    first
      ? `${experiment ? `${experiment.run}: ` : ''}${counted(first.guests, 'guest')}, ${small(first.frameBytes).replace(/\.00$/, '')}-byte frames, ${experiment ? linkText(experiment.linkGbps) : ''}. The median run of each. CPU in ns per delivered frame; operations per delivered frame; latency in µs. Rounded; a cell's tooltip has the full value.`
      : 'None yet. Figures appear here as a comparison finishes them: npm start, or npx grantline compare beside a running testbed.',
  );
  const rows = finished.map((f): Cell[] => [
    {
      text: f.config,
      swatch: facts.configs.includes(configOf(f.config)) ? `config-${configOf(f.config)}` : 'config-custom',
    },
    { text: String(f.runs), value: f.runs },
    num(f.delivered.gbps, gbps),
    f.runs > 1 ? { text: `${gbps(f.spread.gbps.min)} to ${gbps(f.spread.gbps.max)}` } : { text: '-' },
    num(f.delivered.framesPerSecond, mega),
    num(f.offered.gbps, gbps),
    { text: loss(f.lost, f.sent), value: f.lost, ...(f.lost === 0 ? {} : { kind: 'bad' }) },
    num(f.cpuNsPerFrame.driverDomain, whole),
    num(f.cpuNsPerFrame.hypervisor, whole),
    num(f.cpuNsPerFrame.guest, whole),
    num(f.cpuNsPerFrame.total, whole),
    num(f.perFrame.hypercalls, small),
    num(f.perFrame.grantOps, small),
    num(f.perFrame.copies, small),
    num(f.latencyUs?.p50, micros),
    num(f.latencyUs?.p99, micros),
    f.conservation === 'ok' ? { text: 'ok' } : { text: `violated: ${f.conservation.join('; ')}`, kind: 'text bad' },
  ]);
  putTable(
    byId<HTMLTableElement>('results'),
    'Measured configurations',
    [
      ...[
        'configuration',
        'runs',
        'Gb/s',
        'min to max',
        'Mframe/s',
        'offered Gb/s',
        'loss',
        'driver domain',
        'hypervisor',
      ],
      ...['guest', 'CPU total', 'hypercalls', 'grant ops', 'copies', 'p50', 'p99', 'conservation'],
    ],
    rows,
  );
}

/** One row for each guest. */
export function drawGuests(sample: Sample | null, state: BedState): void {
  const rows = state.domains
    .filter((d) => d.kind === 'guest')
    .map((d): Cell[] => {
      const vif = state.vifs.find((v) => v.domid === d.domid);
      const r = sample?.receivers.find((x) => x.domid === d.domid);
      const drops = Object.entries(r?.drops ?? {});
      return [
        { text: d.name },
        { text: d.state, kind: d.state === 'dead' ? 'text bad' : 'text' },
        {
          text: vif ? `${vif.vif} ${vifText(vif)}${vif.error === null ? '' : `: ${vif.error}`}` : '-',
          kind: vif?.error ? 'text bad' : 'text',
        },
        num(r?.gbps, gbps),
        num(r?.fps, mega),
        num(r?.share, percent),
        num(r?.cpu, percent),
        drops.length === 0
          ? { text: '0' }
          : { text: drops.map(([k, n]) => `${whole(n)} ${dropName(k)}`).join('; '), kind: 'text bad' },
      ];
    });
  putTable(
    byId<HTMLTableElement>('guests'),
    'Guests now',
    ['guest', 'state', 'vif', 'Gb/s', 'Mframe/s', 'share', 'CPU of a core', 'drops since the last reset'],
    rows,
  );
}

/** Newest first. */
const POINTS_SHOWN = 60;

export function drawPoints(points: readonly Point[]): void {
  const rows = points
    .slice(-POINTS_SHOWN)
    .reverse()
    .map((p): Cell[] => [
      { text: clock(p.t) },
      { text: named(p.c, p.d), kind: 'text' },
      { text: p.p, kind: 'text' },
      num(p.g ?? undefined, gbps),
      num(p.o ?? undefined, gbps),
    ]);
  putTable(
    byId<HTMLTableElement>('points'),
    'Throughput of the last half minute, newest first',
    ['time', 'configuration', 'phase', 'delivered Gb/s', 'offered Gb/s'],
    rows,
  );
}
