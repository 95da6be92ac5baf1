/** The benchmark's table: what was asked for stands beside what was reached, and where it came from above it. */
import t from 'tap';
import { benchMarkdown, benchTable, checkOf } from '../../src/bench/checks.js';
import { hostInfo } from '../../src/testbed/host.js';

const checks = [
  checkOf('optimised', 'Gb/s', [41, 39, 44], { atLeast: 25 }, 40),
  checkOf('TAP', 'Gb/s', [3, 2.5, 3.5], { atLeast: 4 }),
  checkOf('baseline', 'Gb/s', [10], { atLeast: 0 }),
  checkOf('a | b', 'runs', [0], { exactly: 0 }),
];
const settings = { runs: 3, seconds: 2, linkSeconds: 10, idleSeconds: 5 };

t.test('a figure that falls short says so; one that nothing is asked of is not judged', (t) => {
  const text = benchTable(checks);
  t.match(text, /optimised +│ +41 │ +39 │ +44 │ Gb\/s │ >= 25 \(target 40\) │ PASS/);
  t.match(text, /TAP .*>= 4 +│ short/);
  t.match(text, /baseline +│ +10 │ +10 │ +10 │ Gb\/s │ +│ +│/);
  t.end();
});

t.test('as Markdown it tells command, day, revision and machine, and no name breaks the table', (t) => {
  const host = { ...hostInfo(), cpu: 'A CPU', cores: 2, commit: '0123456789', dirty: false };
  const text = benchMarkdown(checks, [], host, settings, '2026-01-31T12:00:00Z', ['--only', 'ladder']);
  t.match(text, '`npm run bench -- --only ladder`, 2026-01-31, revision 0123456.\nA CPU, 2 cores, Linux ');
  t.match(text, '| optimised | 41 | 39 | 44 | Gb/s | &gt;= 25 (target 40) | PASS |');
  t.match(text, '| a \\| b | 0 |');
  t.match(
    benchMarkdown(checks, [], { ...host, dirty: true }, settings, '2026-01-31', []),
    'revision 0123456 with changes',
  );
  t.end();
});
