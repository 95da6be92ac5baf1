import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import {
  slots,
  type CounterBlock,
  snake,
  type Series,
  LABEL_NAMES,
  type Labels,
  LATENCY,
  recordLatency,
} from '@grantline/machine';
import { COUNTERS, DECLARED } from '../../src/counters/names.js';
import {
  FAMILIES,
  type FamilyName,
  LATENCY_BOUNDS_NS,
  latencyHistogram,
  seriesLabels,
} from '../../src/counters/service-metrics.js';

t.test('every counter is shown, or says why not; and a kind of block is declared once', (t) => {
  const declared = Object.entries(DECLARED).filter(([name]) => name.endsWith('_COUNTERS'));
  t.same([...COUNTERS.values()].length, declared.length);
  for (const [kind, { counters }] of COUNTERS) {
    const mute = Object.entries(counters).filter(([, { series, hidden }]) =>
      hidden === null ? series.length === 0 : series.length > 0 || hidden.length < 20,
    );
    t.same(mute, [], `${kind}: what is hidden says why`);
  }
  t.end();
});

const DROPPED = 'grantline_dropped_frames_total';
const EVENTS = 'grantline_tcpip_events_total';
/** Packets that the TCP/IP stack had no use for; its counters are named as RFCs and MIBs have them. */
const NET_DROPS = [
  /Bad|NotMine|QueueDrop|SourceRoute|NoProtocol|NoPort|icmpIgnored|Reassembly(Timeout|Overlap|Evicted)/,
  /NoConnection|OutOfWindow|Duplicate|TooManyGaps|NoMemory|Paws|DataAfterClose|ConnLimit/,
];
/** Of a stack: what was never meant for it is no loss. */
const NOT_MEANT_FOR_US = ['dropNotMine', 'dropEtherType', 'ipNotMine'];
const isDrop = (kind: string, counter: string): boolean =>
  !(kind === 'net' && NOT_MEANT_FOR_US.includes(counter)) &&
  (/^drop[A-Z]/.test(counter) || (kind === 'net' && NET_DROPS.some((re) => re.test(counter))));

const BLOCK = { vif: 'vif1.0', queue: 'default', domain: '1', hop: 'guest', direction: 'in', device: 'far' };
/** All series that counters go to, with the labels of a block of that kind. */
const TARGETS: { name: string; series: Series; labels: Record<string, string> }[] = [...COUNTERS].flatMap(
  ([kind, declared]) =>
    Object.entries(declared.counters).flatMap(([counter, { series }]) =>
      series.map((one) => ({
        name: `${kind}.${counter}`,
        series: one,
        labels: seriesLabels(declared, BLOCK, one),
      })),
    ),
);

t.test('series have the labels of their family and no others; counters of drops are all there', (t) => {
  const allowed = new Set<string>(LABEL_NAMES);
  const wrong: string[] = [];
  const check = (good: boolean, text: string): void => void (good || wrong.push(text));
  for (const { name, series, labels } of TARGETS) {
    const family = FAMILIES[series.family];
    const may = new Set<string>(['domain', ...family.labels]);
    for (const [label, value] of Object.entries(labels))
      check(allowed.has(label) && may.has(label) && /^[a-z][a-z0-9_.]*$/.test(value), `${name}: ${label}="${value}"`);
    check(family.type === 'counter', `${name}: ${family.type}`);
    check(series.scale === (name.endsWith('Ns') || name.startsWith('cpu.') ? 1e-9 : 1), `${name}: ${series.scale}`);
    // Events of the TCP/IP stack are of all units.
    const inBytes = series.family.endsWith('_bytes_total');
    check(inBytes === /bytes$/i.test(name) || series.family === EVENTS, `${name}: ${series.family}`);
    if (series.family !== DROPPED) continue;
    const [kind = '', counter = ''] = name.split('.');
    check(isDrop(kind, counter), `${name} is no drop`);
    const reason = snake(counter.replace(/^drop/, '')).replace(/^_/, '');
    check(labels['reason'] === reason, `${name}: reason="${labels['reason']}"`);
  }
  t.same(wrong, []);
  for (const [kind, { names, drops }] of COUNTERS)
    t.same(
      drops,
      names.filter((name) => isDrop(kind, name)),
      kind,
    );
  const drops = TARGETS.filter((x) => x.series.family === DROPPED).map((x) => x.labels);
  t.equal(
    new Set(drops.map((d) => `${d['component']} ${d['reason']}`)).size,
    [...COUNTERS].flatMap(([kind, { names }]) => names.filter((name) => isDrop(kind, name))).length,
  );
  t.end();
});

t.test('names follow the rules: base units, _total for what only grows, help that ends in a full stop', (t) => {
  const wrong = (Object.keys(FAMILIES) as FamilyName[]).filter((name) => {
    const { type, help } = FAMILIES[name];
    return !(
      /^(grantline|process|nodejs)(_[a-z]+)+$/.test(name) &&
      name.endsWith('_total') === (type === 'counter') &&
      !/_(ns|us|ms|bits?|gbps|kb|mb|count|sum|bucket)(_|$)/.test(name) &&
      /^\S.{8,120}\.$/.test(help)
    );
  });
  t.same(wrong, []);
  t.equal(snake('noDeviceSpace'), 'no_device_space');
  t.end();
});

// The experimenter's are in section 4.
const [PAGE = ''] = readFileSync(join(import.meta.dirname, '../../../../../docs/wire/metrics.md'), 'utf8').split(
  '\n## 4.',
);
/** Rows of the page's tables: the metrics, and what stands there of their labels, and of what they are. */
const ROWS = PAGE.split('\n')
  .filter((line) => /^\| `(grantline|process|nodejs)_/.test(line))
  .map((line) => {
    const cells = line.split('|');
    const [, cell = '', labels = ''] = cells;
    const is = cells.at(-2)?.trim() ?? '';
    const told: string[] = [];
    // `grantline_nic_queue_frames_total`, `_bytes_total`: the second has the beginning of the first.
    let words: string[] = [];
    for (const [, name = ''] of cell.matchAll(/`(\w+)`/g)) {
      if (!name.startsWith('_')) words = name.split('_');
      const full = words.map((_, i) => words.slice(0, i).join('_') + name).findLast((n) => Object.hasOwn(FAMILIES, n));
      told.push(name.startsWith('_') ? (full ?? name) : name);
    }
    return { told, labels, is };
  });

t.test('docs/wire/metrics.md has every metric of a service, and no other', (t) => {
  t.same(ROWS.flatMap((row) => row.told).sort(), Object.keys(FAMILIES).sort());
  t.end();
});

t.test(
  'docs/wire/metrics.md says of each metric what its help says, and what else there is to say behind that',
  (t) => {
    for (const { told, is } of ROWS) {
      const help = told.map((name) => FAMILIES[name as FamilyName].help).join(' ');
      t.equal(is.slice(0, help.length), help);
    }
    t.end();
  },
);

t.test('docs/wire/metrics.md has the labels of each metric, and the values of them that counters declare', (t) => {
  let lists = 0;
  for (const { told, labels } of ROWS) {
    const plain = labels.replace(/\([^)]*\)|`[^`]*`/g, '');
    const named = LABEL_NAMES.filter((name) => new RegExp(`\\b${name}\\b`).test(plain));
    for (const name of told) t.same([...FAMILIES[name as FamilyName].labels].sort(), [...named].sort(), name);
    for (const [, label = '', list = ''] of labels.matchAll(/(\w+) = ((?:`\w+`(?:, )?)+)/g)) {
      const declared = TARGETS.filter(({ series }) => told.includes(series.family)).flatMap(
        ({ series }) => series.labels[label as keyof Labels] ?? [],
      );
      // Others are not for counters to say: names of domains, of hops.
      if (declared.length === 0) continue;
      t.same(
        [...list.matchAll(/\w+/g)].map(([word]) => word).sort(),
        [...new Set(declared)].sort(),
        `${told.join()}: ${label}`,
      );
      lists++;
    }
  }
  t.ok(lists > 12, `${lists} lists of values`);
  t.end();
});

t.test('the latency histogram is what counting at its bounds would give', (t) => {
  const names = LATENCY.names;
  const block = { v: new Float64Array(names.length) } as CounterBlock;
  let seed = 1;
  const random = (): number => (seed = (seed * 48271) % 0x7fffffff) / 0x7fffffff;
  const times: number[] = [0, 63, 1023, 1024, 1025, 2047, 2048, 2 ** 34 - 1, 1024 * 2 ** 24, 1e12];
  for (let i = 0; i < 3000; i++) times.push(Math.floor(2 ** (random() * 36)));
  for (const ns of times) recordLatency(block, ns);
  const { buckets, sumSeconds } = latencyHistogram(Object.fromEntries(names.map((n, i) => [n, block.v[i]])));
  t.same(
    buckets,
    [...LATENCY_BOUNDS_NS, Infinity].map((bound) => ({
      le: bound === Infinity ? '+Inf' : String(bound / 1e9),
      count: times.filter((ns) => ns < bound).length,
    })),
  );
  t.equal(buckets[0]?.le, '0.000001024');
  t.equal(buckets.at(-1)?.count, block.v[slots(['count'] as const).count], 'all are counted');
  t.ok(Math.abs(sumSeconds - times.reduce((a, b) => a + b, 0) / 1e9) < 1e-6);
  t.end();
});
