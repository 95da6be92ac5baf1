/** Receive and transmit in one comparison: figures of two kinds, which no scale and no table may mix. */
import t from 'tap';
import { documentOf } from '../../src/report/document.js';
import { laddersOf, modelOf } from '../../src/report/model.js';
import { reportFiles } from '../../src/report/write.js';
import { resultsOf, sourcesOf, type Made } from './kit.js';

const RECEIVE: Made[] = [
  { config: 'baseline', gbps: [10, 11] },
  { config: 'optimised', gbps: [40, 44] },
];
const TRANSMIT: Made[] = RECEIVE.map(({ config }) => ({
  config,
  gbps: config === 'baseline' ? [0.8, 0.9] : [36, 40],
  with: { direction: 'tx' },
}));
const both = sourcesOf(resultsOf([...RECEIVE, ...TRANSMIT]));

t.test('each ladder has its plots and tables, with the names of the configurations as they are', (t) => {
  const doc = documentOf(modelOf(both), laddersOf(both), false);
  const plots = doc.sections.flatMap((s) => (s.figure === null ? [] : [s.figure.plot.name]));
  t.same(plots, [
    'throughput',
    'cpu-per-frame',
    'latency',
    'throughput-transmit',
    'cpu-per-frame-transmit',
    'latency-transmit',
  ]);
  t.equal(new Set(doc.sections.map((s) => s.id)).size, doc.sections.length, 'ids of sections are their own');
  const throughput = doc.sections.filter((s) => s.id.startsWith('throughput'));
  t.same(
    throughput.map((s) => [s.title, s.tables[0].rows.map((row) => [row[0], row[2]])]),
    [
      [
        'Throughput: receive',
        [
          ['baseline', '10.0'],
          ['optimised', '40.0'],
        ],
      ],
      [
        'Throughput: transmit',
        [
          ['baseline', '0.80'],
          ['optimised', '36.0'],
        ],
      ],
    ],
  );
  t.end();
});

t.test('the paper measured receive: its marks and its table stand there only', (t) => {
  const files = reportFiles(both, { csv: false });
  t.match(files.get('throughput.svg'), /the paper&#39;s optimised|the paper's optimised/);
  t.notMatch(files.get('throughput-transmit.svg'), /paper/);
  t.equal(files.get('report.md')?.split('## Beside the paper').length, 2);
  t.end();
});

t.test('the headline is of receive, and says what transmit came to', (t) => {
  const { headline } = documentOf(modelOf(both), laddersOf(both), false);
  t.match(headline.lead, /^10\.0 to 40\.0 Gb\/s/);
  t.match(headline.remarks.join('\n'), /^Transmit: 0\.80 to 36\.0 Gb\/s from baseline to optimised, 45 times\.$/m);
  t.end();
});

t.test('of one ladder the report is as it ever was: nothing is named after it', (t) => {
  const one = sourcesOf(resultsOf(RECEIVE));
  const doc = documentOf(modelOf(one), laddersOf(one), false);
  t.ok(doc.sections.some((s) => s.title === 'Throughput'));
  t.equal(laddersOf(one).length, 1);
  t.end();
});
