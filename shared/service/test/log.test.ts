import t from 'tap';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { createLogTo, type Log, LogLimit } from '../src/log.js';

interface Line {
  level: number;
  msg: string;
  guest?: number;
  more?: number;
  length?: number;
  cut?: string;
}

/** A log whose clock stands until it is moved. */
function kept(): { log: Log; lines: Line[]; pass: (seconds: number) => void } {
  const lines: Line[] = [];
  let now = 0;
  const stream = { write: (text: string) => void lines.push(JSON.parse(text) as Line) };
  const log = createLogTo({ kind: 'nic', domid: null, log: 'info' }, stream, new LogLimit(() => now));
  return { log, lines, pass: (seconds) => void (now += seconds * 1e9) };
}

t.test('lines of a kind about one domain are limited, and what was left out is counted', (t) => {
  const { log, lines, pass } = kept();
  for (let i = 0; i < 10_000; i++) log.warn({ guest: 1, err: new Error('no such grant') }, 'a request failed');
  t.equal(lines.length, 20);
  log.warn({ guest: 2 }, 'a request failed');
  t.same([lines.at(-1)!.guest, lines.length], [2, 21], 'another domain has its own share');
  log.info('a request failed quite differently');
  t.equal(lines.length, 22, 'and so has another kind');
  pass(1);
  log.warn({ guest: 1 }, 'a request failed');
  t.same([lines.at(-1)!.guest, lines.at(-1)!.more, lines.length], [1, 9980, 23]);
  log.warn({ guest: 1 }, 'a request failed');
  t.equal(lines.length, 23, 'one in each interval');
  for (let i = 0; i < 100; i++) log.fatal('the service failed');
  t.equal(lines.length, 123, 'the end is always told');
  t.end();
});

t.test('kinds that somebody makes up share one limit in the end', (t) => {
  const { log, lines } = kept();
  for (let i = 0; i < 50_000; i++) log.warn(`port ${i} is not mine`);
  t.ok(lines.length < 1100, `${lines.length} lines`);
  t.end();
});

t.test('lines of a kind that stops are told as left out', (t) => {
  const limit = new LogLimit(() => 0);
  for (let i = 0; i < 25; i++) limit.admit('refused', 'guest 3');
  t.same(limit.takeLeftOut(), [{ message: 'refused', of: 'guest 3', more: 5 }]);
  t.same(limit.takeLeftOut(), [], 'once');
  t.end();
});

t.test('a line has an end', (t) => {
  const { log, lines } = kept();
  log.warn({ err: 'x'.repeat(1 << 20) }, 'a peer says much');
  t.match(lines, [{ level: 40, msg: 'a peer says much', length: Number }]);
  t.ok(JSON.stringify(lines[0]).length < 8192);
  t.end();
});

t.test('a reader of the log that stands still costs a bounded memory', async (t) => {
  const script = `
    const { createLog } = await import(${JSON.stringify(new URL('../src/log.js', import.meta.url).href)});
    const log = createLog({ kind: 'nic', domid: 1, log: 'info' });
    const before = process.memoryUsage.rss();
    for (let i = 0; i < 30_000; i++) {
      log.fatal({ text: 'x'.repeat(4000) }, 'of a kind that is not limited');
      if (i % 1000 === 0) await new Promise((done) => setTimeout(done, 1));
    }
    globalThis.gc();
    process.stderr.write(String(process.memoryUsage().heapUsed + process.memoryUsage().external));
    process.kill(process.pid, 'SIGKILL');`;
  // Nobody reads its stdout.
  const child = spawn(process.execPath, ['--expose-gc', '--input-type=module', '-e', script], { stdio: 'pipe' });
  let told = '';
  child.stderr.on('data', (d: Buffer) => (told += d.toString()));
  await once(child.stderr, 'end');
  await sleep(0);
  t.ok(Number(told) > 0 && Number(told) < 60e6, `${told} bytes after 120 MB of lines`);
});
