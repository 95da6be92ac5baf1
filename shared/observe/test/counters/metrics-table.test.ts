import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { slots, LOOP_COUNTERS, latencyNames, recordLatency, type CounterBlock } from '@grantline/machine';
import * as counterNames from '../../src/counters/names.js';
import { NET_COUNTERS, TCP_APP_COUNTERS } from '@grantline/tcpip';
import { COUNTER_TABLE, seriesLabels, snake, type Target } from '../../src/counters/metrics-counters.js';
import { FAMILIES, type FamilyName } from '../../src/counters/metrics-families.js';
import { LABEL_NAMES } from '../../src/counters/metrics-family.js';
import { LATENCY_BOUNDS_NS, latencyHistogram } from '../../src/counters/metrics-latency.js';

/** Lists of counter names by the kind of block that they stand in. */
const KINDS: Record<string, readonly string[]> = {
  loop: LOOP_COUNTERS,
  net: NET_COUNTERS,
  tcpApp: TCP_APP_COUNTERS,
  cpu: Object.entries(counterNames).flatMap(([name, list]) => (name.endsWith('_CPU') ? [...list] : [])),
};
for (const [name, list] of Object.entries(counterNames)) {
  if (!name.endsWith('_COUNTERS')) continue;
  const kind = name.slice(0, -'_COUNTERS'.length).toLowerCase();
  KINDS[
    {
      ...{ nic_queue: 'nicQueue', hypercall: 'hypercalls' },
      ...{ nic_tx: 'nicTx', netfront_tx: 'netfrontTx', netback_tx: 'netbackTx' },
    }[kind] ?? kind
  ] = list;
}

t.test('every counter that there is is shown, or says why not; and none is shown that there is not', (t) => {
  t.same(Object.keys(COUNTER_TABLE).sort(), Object.keys(KINDS).sort());
  for (const [kind, names] of Object.entries(KINDS)) {
    const counters = COUNTER_TABLE[kind]?.counters ?? {};
    t.same(Object.keys(counters).sort(), [...new Set(names)].sort(), kind);
    const mute = Object.entries(counters).filter(([, shown]) =>
      'hidden' in shown ? shown.hidden.length < 20 : shown.length === 0,
    );
    t.same(mute, [], `${kind}: what is hidden says why`);
  }
  t.end();
});

const DROPPED = 'grantline_dropped_frames_total';
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

/** All series that counters go to, with the labels of a block of that kind. */
const TARGETS: { name: string; target: Target; labels: Record<string, string> }[] = Object.entries(
  COUNTER_TABLE,
).flatMap(([kind, table]) =>
  Object.entries(table.counters).flatMap(([counter, shown]) =>
    'hidden' in shown
      ? []
      : shown.map((target) => ({
          name: `${kind}.${counter}`,
          target,
          labels: seriesLabels(table, { vif: 'vif1.0', queue: 'default', domain: '1', hop: 'guest' }, target),
        })),
  ),
);

t.test('series have the labels of their family and no others; counters of drops are all there', (t) => {
  const allowed = new Set<string>(LABEL_NAMES);
  const wrong: string[] = [];
  const check = (good: boolean, text: string): void => void (good || wrong.push(text));
  for (const { name, target, labels } of TARGETS) {
    const family = FAMILIES[target.family];
    const may = new Set<string>(['domain', ...family.labels]);
    for (const [label, value] of Object.entries(labels))
      check(allowed.has(label) && may.has(label) && /^[a-z][a-z0-9_.]*$/.test(value), `${name}: ${label}="${value}"`);
    check(family.type === 'counter', `${name}: ${family.type}`);
    check(target.scale === (name.endsWith('Ns') || name.startsWith('cpu.') ? 1e-9 : 1), `${name}: ${target.scale}`);
    if (target.family !== DROPPED) continue;
    const [kind = '', counter = ''] = name.split('.');
    check(isDrop(kind, counter), `${name} is no drop`);
    const reason = snake(counter.replace(/^drop/, '')).replace(/^_/, '');
    check(labels['reason'] === reason, `${name}: reason="${labels['reason']}"`);
  }
  t.same(wrong, []);
  const drops = TARGETS.filter((x) => x.target.family === DROPPED).map((x) => x.labels);
  t.equal(
    new Set(drops.map((d) => `${d['component']} ${d['reason']}`)).size,
    Object.entries(KINDS).flatMap(([kind, names]) => names.filter((name) => isDrop(kind, name))).length,
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

t.test('docs/wire/metrics.md has every metric, and no other', (t) => {
  const page = readFileSync(join(import.meta.dirname, '../../../../../docs/wire/metrics.md'), 'utf8');
  const told = new Set<string>();
  for (const row of page.split('\n').filter((line) => line.startsWith('| `grantline_'))) {
    // `grantline_nic_queue_frames_total`, `_bytes_total`: the second has the beginning of the first.
    let words: string[] = [];
    for (const [, name = ''] of row.split('|')[1].matchAll(/`(\w+)`/g)) {
      if (!name.startsWith('_')) {
        told.add(name);
        words = name.split('_');
        continue;
      }
      const full = words.map((_, i) => words.slice(0, i).join('_') + name).findLast((n) => Object.hasOwn(FAMILIES, n));
      told.add(full ?? name);
    }
  }
  for (const [, name = ''] of page.matchAll(/`((?:process|nodejs)_\w+|grantline_build_info)/g)) told.add(name);
  t.same([...told].sort(), Object.keys(FAMILIES).sort());
  t.end();
});

t.test('the latency histogram is what counting at its bounds would give', (t) => {
  const names = latencyNames();
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
