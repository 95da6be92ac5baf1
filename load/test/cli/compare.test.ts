import t from 'tap';
import { readFileSync } from 'node:fs';
import { CONFIGURATIONS, configurationNamed, type Configuration } from '@grantline/base';
import { compareTable, paperLines } from '../../src/report/table.js';
import type { CompareSettings } from '../../src/report/results.js';
import { condense, ranges, readable, flagNames } from '../../src/report/dump-text.js';
import { medianIndex } from '../../src/base/stats.js';
import { abbaOrder, summarise, verdict } from '../../src/runner/compare.js';
import { figures } from '../../src/runner/figures.js';
import type { RunRecord, Summary } from '../../src/runner/record.js';
import { onlyVif } from '../../src/cli/dump.js';
import { baselineAt, type Bend } from '../runner/hand-made.js';

function record(config: string, framesPerSecond: number, round = 0, bend: Bend = {}): RunRecord {
  const a = baselineAt(0, 1);
  const b = baselineAt(framesPerSecond, 2, bend);
  const result = figures({
    config,
    direction: 'rx',
    factors: CONFIGURATIONS.baseline,
    round,
    guests: 1,
    frameBytes: 1514,
    seconds: 1,
    linkGbps: null,
    flowControl: true,
    stealShare: 0,
    a,
    b,
    c: b,
  });
  return { ...result, raw: { a, b, c: b } };
}

const settings: CompareSettings = {
  guests: 1,
  frameBytes: 1514,
  frameSizes: [1514],
  seconds: 1,
  warmup: 1,
  linkGbps: null,
  flowControl: true,
  protocol: 'auto',
  flows: 4,
  repeat: 3,
  seed: 1,
};
const configs = ['baseline', 'optimised'].map(configurationNamed) as Configuration[];

t.test('runs are interleaved forward and backward', (t) => {
  t.same(abbaOrder(3, 3), [
    [0, 1, 2],
    [2, 1, 0],
    [0, 1, 2],
  ]);
  t.same(abbaOrder(2, 1), [[0, 1]]);
  t.end();
});

t.test('the median is a run that took place: of an even number the lower middle one', (t) => {
  t.equal(medianIndex([5, 1, 9]), 0);
  t.equal(medianIndex([4, 1, 9, 7]), 0);
  t.equal(medianIndex([2]), 0);
  t.equal(medianIndex([]), -1);
  t.end();
});

t.test('a summary is the median run with the spread of all', (t) => {
  const runs = [
    record('baseline', 400_000, 0),
    record('optimised', 2_000_000, 0),
    record('baseline', 500_000, 1),
    record('baseline', 300_000, 2),
  ];
  const [base, best] = summarise(configs, runs) as [Summary, Summary];
  t.equal(base.delivered.frames, 400_000);
  t.same(base.spread.framesPerSecond, { min: 300_000, max: 500_000 });
  t.equal(base.runs, 3);
  t.equal(best.runs, 1);
  t.notOk('raw' in base, 'raw counters stand with the runs only');
  t.end();
});

t.test('a violation of conservation, a corrupt frame or no frame at all fails the comparison', (t) => {
  t.equal(verdict([record('baseline', 400_000)]), null);
  t.match(
    verdict([record('baseline', 400_000, 0, { 'guest1/app.frames': -1 })])?.message,
    /baseline: frames are not accounted for: stack to application/,
  );
  t.match(verdict([record('baseline', 400_000, 0, { 'guest1/app.corrupt': 1 })])?.message, /corrupt/);
  t.equal(verdict([record('baseline', 0)])?.message, 'baseline: no frame was delivered: none was sent');
  const lost = { ...record('baseline', 0), sent: 420, received: 0, pausedShare: 0.66 };
  const drops = {
    'nicQueue.dropNoBuffer': 300,
    'bridge.dropNoPort': 15,
    'netback.dropStalled': 100,
    'nic.dropRunt': 5,
  };
  t.equal(
    verdict([{ ...lost, drops }])?.message,
    'baseline: no frame was delivered: 420 sent, nicQueue.dropNoBuffer 300, netback.dropStalled 100, bridge.dropNoPort 15, 1 reason more, sender paused 66 % of the time',
    'the largest drop counters tell why',
  );
  t.end();
});

t.test('the table is the one that was agreed on', (t) => {
  const runs = [record('baseline', 400_000, 0), record('optimised', 2_000_000, 0)];
  const text = compareTable(summarise(configs, runs), runs, { ...settings, repeat: 1 }, { colour: false });
  const golden = readFileSync(new URL('../../../test/golden/compare-table.txt', import.meta.url), 'utf8');
  t.equal(`${text}\n`, golden);
  t.end();
});

t.test('what is doubtful of a run that is not the median stands below the table, too', (t) => {
  const runs = [400_000, 300_000, 500_000].map((n, round) => record('baseline', n, round));
  const doubtful = { ...runs[1], notes: ['stolen'], conservation: ['stack: in 1, out 0'], cpuAccountedOk: false };
  const all = [runs[0], doubtful, runs[2]];
  const text = compareTable(summarise([configs[0]], all), all, { ...settings, repeat: 3 }, { colour: false });
  t.match(text, /NOT within.*Conservation at each hop: VIOLATED/);
  t.match(text, /^note, baseline, run 2: stolen$/m);
  const many = Array.from({ length: 50 }, (_, round) => ({ ...doubtful, round }));
  t.match(
    compareTable(summarise([configs[0]], many), many, settings, { colour: false }),
    /and 30 more notes in the results/,
  );
  t.end();
});

t.test('the paper stands beside ours, also when one of the two was not run', (t) => {
  const both = summarise(configs, [record('baseline', 400_000), record('optimised', 2_000_000)]);
  t.match(paperLines(both)[0], /here 4\.8 to 24\.2 Gb\/s, 5\.0 times; .*2\.9 to 10 Gb\/s.*3\.4 times/);
  t.match(paperLines(both.slice(0, 1))[0], /2\.9 Gb\/s.*10 Gb\/s.*3\.4/);
  t.end();
});

t.test('an order that differs from the paper is said', (t) => {
  const odd = summarise(configs, [record('baseline', 400_000), record('optimised', 300_000)]);
  t.match(paperLines(odd)[1], /order differs.*optimised.*below baseline/);
  t.end();
});

t.test('a dump of one vif leaves the others out and keeps what belongs to none', (t) => {
  const dump = {
    bridge: [{ mac: 'aa', port: 1 }],
    vifs: [
      { vif: 'vif1.0', rings: 1 },
      { vif: 'vif2.0', rings: 2 },
    ],
    'vif2.0': {},
    'vif1.0': { x: 1 },
  };
  t.same(onlyVif(dump, 'vif1.0'), {
    bridge: [{ mac: 'aa', port: 1 }],
    vifs: [{ vif: 'vif1.0', rings: 1 }],
    'vif1.0': { x: 1 },
  });
  t.end();
});

t.test('readable text: flat lists of objects become tables, the rest is indented', (t) => {
  t.same(
    readable({
      a: 1,
      long: 'x',
      list: [
        { p: 1, q: 'zz' },
        { p: 22, r: null },
      ],
      none: [],
      deep: { b: [1, 2] },
    }),
    ['a     1', 'long  x', 'list', '  p   q   r', '  1   zz', '  22      -', 'none  (none)', 'deep', '  b  1 2'],
  );
  t.end();
});

t.test('rows that differ only in their number become one with ranges', (t) => {
  t.equal(ranges([3, 1, 2, 9, 7, 6]), '1-3 6-7 9');
  const rows = [10, 11, 12, 20].map((gref) => ({
    gref,
    frame: gref * 2,
    flags: gref === 20 ? 'permit' : 'permit+reading',
  }));
  t.same(condense(rows, 'gref', ['frame']), [
    { gref: '10-12', count: 3, flags: 'permit+reading' },
    { gref: '20', count: 1, flags: 'permit' },
  ]);
  t.same(readable([{ a: 1, pins: { w: 1, r: 0 } }]), ['a  pins.w  pins.r', '1  1       0']);
  t.equal(flagNames(25), 'permit+reading+writing');
  t.end();
});
