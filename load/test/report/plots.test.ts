import t, { type Test } from 'tap';
import fc from 'fast-check';
import { modelOf } from '../../src/report/model.js';
import { cpuPlot } from '../../src/report/plot-cpu.js';
import { guestsPlot, throughputPlot } from '../../src/report/plot-throughput.js';
import { latencyPlot } from '../../src/report/plot-latency.js';
import { renderPlot, type Plot } from '../../src/report/svg.js';
import { LADDER, readMarkup, resultsOf, runOf, sourcesOf, type Made, type Tag } from './kit.js';

const X = ['x', 'x1', 'x2', 'cx'];
const Y = ['y', 'y1', 'y2', 'cy'];

/** Every coordinate of an element, as points. */
function pointsOf({ name, attributes: a }: Tag): { x: number[]; y: number[] } {
  const at = (keys: readonly string[]): number[] => keys.flatMap((k) => (a.has(k) ? [Number(a.get(k))] : []));
  const x = at(X);
  const y = at(Y);
  if (name === 'rect') {
    x.push((x[0] ?? 0) + Number(a.get('width')));
    y.push((y[0] ?? 0) + Number(a.get('height')));
  }
  const moved = /^translate\(([-\d.]+) ([-\d.]+)\)$/.exec(a.get('transform') ?? '');
  if (moved) {
    x.push(Number(moved[1]));
    y.push(Number(moved[2]));
  } else if (name === 'path') {
    for (const m of (a.get('d') ?? '').matchAll(/(-?[\d.]+),(-?[\d.]+)/g)) {
      x.push(Number(m[1]));
      y.push(Number(m[2]));
    }
  }
  return { x, y };
}

/** @returns what lies outside of the view box or is no number */
function strays(plot: Plot): string[] {
  const { tags } = readMarkup(renderPlot(plot, 'file').text);
  const out: string[] = [];
  for (const tag of tags) {
    const { x, y } = pointsOf(tag);
    if (x.some((v) => !(v >= 0 && v <= plot.width)) || y.some((v) => !(v >= 0 && v <= plot.height)))
      out.push(`${tag.name} ${x.join(' ')} / ${y.join(' ')}`);
  }
  return out;
}

const count = (plot: Plot, name: string): number =>
  readMarkup(renderPlot(plot, 'inline').text).tags.filter((x) => x.name === name).length;

const modelFor = (made: readonly Made[], settings = {}) => modelOf(sourcesOf(resultsOf(made, settings)));

function sound(t: Test, plot: Plot, what: string): void {
  t.same(strays(plot), [], `${what}: ${plot.name} stays inside its view box`);
}

t.test('the throughput plot has a dot for each run, hollow when it carries a note', (t) => {
  const noted: Made = { config: 'native', gbps: [50, 51], with: { notes: ['a "doubtful" run'] } };
  const plot = throughputPlot(modelFor([...LADDER, noted]));
  t.equal(count(plot, 'circle'), 4 * 3 + 2);
  const hollow = readMarkup(renderPlot(plot, 'inline').text).tags.filter((x) =>
    x.attributes.get('class')?.includes('gl-s-native'),
  );
  t.equal(hollow.length, 2);
  sound(t, plot, 'some');
  t.end();
});

t.test('plots stay in their frames: one run, many, none delivered, a paced link, long names, large figures', (t) => {
  const many = Array.from({ length: 100 }, (_, i) => 10 + (i % 7));
  const cases: [string, readonly Made[], object][] = [
    ['one run', [{ config: 'baseline', gbps: [10] }], {}],
    ['many runs', [{ config: 'optimised', gbps: many }], {}],
    ['nothing delivered', [{ config: 'baseline', gbps: [0] }], {}],
    ['paced', LADDER, { linkGbps: 10 }],
    ['paced above all', LADDER, { linkGbps: 100 }],
    ['long names', [{ config: 'x'.repeat(100), gbps: [3, 4] }], {}],
    ['large', [{ config: 'baseline', gbps: [1e15] }], {}],
  ];
  for (const [what, made, settings] of cases) {
    const m = modelFor(made, settings);
    for (const plot of [throughputPlot(m), cpuPlot(m), latencyPlot(m)]) if (plot) sound(t, plot, what);
  }
  t.end();
});

t.test('bars of CPU time are as long as the components are together, to one scale in all panels', (t) => {
  const made = [
    { config: 'baseline', gbps: [10] },
    { config: 'optimised', gbps: [40] },
  ];
  const m = modelFor(made);
  const plot = cpuPlot(m);
  const rects = readMarkup(renderPlot(plot, 'inline').text).tags.filter(
    (x) => x.name === 'rect' && x.attributes.get('class')?.includes('gl-edge'),
  );
  const first = Number(rects[0].attributes.get('y'));
  const rows = rects.filter((r) => Number(r.attributes.get('y')) === first);
  const drawn = rows.reduce((sum, r) => sum + Number(r.attributes.get('width')), 0);
  const c = m.main[0].median.cpuNsPerFrame;
  const perNs = drawn / (c.total + c.nic);
  for (const r of rows) t.ok(Number(r.attributes.get('width')) > 0);
  // By class of the swatch: netback is 150 ns in the results made by hand, hypercalls 100.
  const width = (part: string): number =>
    Number(rows.find((r) => r.attributes.get('class')?.includes(`gl-p-${part} `))?.attributes.get('width'));
  t.ok(Math.abs(width('netback') / perNs - 150) < 1.5, `netback ${width('netback') / perNs}`);
  t.ok(Math.abs(width('hypercalls') / perNs - 100) < 1.5, `hypercalls ${width('hypercalls') / perNs}`);
  t.end();
});

t.test('a component without a name here is drawn as other, and idle is not drawn', (t) => {
  const run = runOf('baseline', 10);
  const components = { ...run.cpuNsPerFrame.components, 'guest.newcomer': 70, 'guest.idle': 5000 };
  const m = modelFor([
    { config: 'baseline', gbps: [10], with: { cpuNsPerFrame: { ...run.cpuNsPerFrame, components } } },
  ]);
  const text = renderPlot(cpuPlot(m), 'inline').text;
  t.match(text, /baseline, guest, other: 70 ns/);
  t.notMatch(text, /5,000/);
  t.end();
});

t.test('the guests plot has a line and dots for each configuration that has several numbers of guests', (t) => {
  const one = resultsOf([...LADDER, { config: 'native', gbps: [50] }]);
  const four = resultsOf(LADDER, { guests: 4 });
  const m = modelOf(sourcesOf(one, four));
  const plot = guestsPlot(m);
  t.ok(plot);
  if (plot) {
    t.equal(count(plot, 'path'), 4);
    t.equal(count(plot, 'circle'), 4 * 3 * 2);
    sound(t, plot, 'guests');
    t.notMatch(plot.desc, /native/);
  }
  t.equal(guestsPlot(modelFor(LADDER)), null, 'with one number of guests there is none');
  t.end();
});

t.test('any throughput and any latency can be drawn', (t) => {
  const rate = fc.double({ min: 0, max: 1e6, noNaN: true });
  const runs = fc.array(rate, { minLength: 1, maxLength: 8 });
  let circles = 0;
  fc.assert(
    fc.property(runs, runs, fc.constantFrom(null, 1, 10, 100), rate, (a, b, linkGbps, p999) => {
      const latencyUs = { p50: p999 / 8, p90: p999 / 4, p99: p999 / 2, p999, max: p999 };
      const made = [
        { config: 'baseline', gbps: a, with: { latencyUs } },
        { config: 'optimised', gbps: b, with: { latencyUs } },
      ];
      const m = modelOf(sourcesOf(resultsOf(made, { linkGbps }), resultsOf(made, { linkGbps, guests: 3 })));
      const plots = [throughputPlot(m), cpuPlot(m), latencyPlot(m), guestsPlot(m)];
      circles += count(plots[0]!, 'circle');
      return plots.every((p) => p !== null && strays(p).length === 0);
    }),
    { numRuns: 40 },
  );
  t.ok(circles >= 80, `every run of both configurations is drawn: ${circles} dots`);
  t.end();
});
