import t from 'tap';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync, readdirSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { lastLogLines, ServiceLog } from '../../src/testbed/service-process.js';

const home = `/dev/shm/grantline-test-${process.pid}-service-log`;
mkdirSync(home);
t.teardown(() => rmSync(home, { recursive: true, force: true }));

const sizes = (name: string): number[] =>
  readdirSync(home)
    .filter((f) => f.startsWith(name))
    .map((f) => statSync(join(home, f)).size);

t.test('a service that writes without end has two files of a bounded size, and its last words are told', async (t) => {
  const path = join(home, 'flood.log');
  const log = new ServiceLog(path, 10_000);
  const script = `
    for (let i = 0; i < 20000; i++) console.log(JSON.stringify({ msg: 'line ' + i }));
    console.log('the end');`;
  const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'pipe'] });
  log.take(child.stdout);
  log.take(child.stderr);
  await once(child, 'close');
  log.close();
  const found = sizes('flood');
  t.equal(found.length, 2);
  // A file takes what comes at once, 64 KiB at most, however small it is to be.
  for (const size of found) t.ok(size <= 10_000 + 65_536, `${size} bytes`);
  t.same(lastLogLines(path, 3), ['line 19998', 'line 19999', 'the end']);
});

t.test('who writes much waits for its log', async (t) => {
  const log = new ServiceLog(join(home, 'wait.log'), 100_000);
  const script = `
    const { writeSync } = require('node:fs');
    for (;;) writeSync(1, 'x'.repeat(65536));`;
  const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'ignore'] });
  t.teardown(() => child.kill('SIGKILL'));
  log.take(child.stdout);
  await new Promise<void>((held) => child.stdout.once('pause', () => held()));
  t.ok(child.stdout.isPaused());
  child.kill('SIGKILL');
  log.close();
});

t.test('a log is appended to, and not through a link', (t) => {
  const path = join(home, 'old.log');
  writeFileSync(path, '{"msg":"of before"}\n');
  new ServiceLog(path).close();
  t.equal(readFileSync(path, 'utf8'), '{"msg":"of before"}\n');
  symlinkSync('/nonexistent', join(home, 'link.log'));
  t.throws(() => new ServiceLog(join(home, 'link.log')), { code: 'ELOOP' });
  t.same(lastLogLines(join(home, 'none.log'), 5), []);
  t.end();
});

t.test('what a service has said is printable before it reaches a terminal', (t) => {
  const path = join(home, 'nasty.log');
  const nasty = '\x1b]0;x\x07\x1b]52;c;eA==\x07\x9b2J\x00\x7f\u202e\r';
  writeFileSync(path, `${nasty}\n${JSON.stringify({ msg: nasty, err: { stack: `Error: ${nasty}\n    at x` } })}\n`);
  const said = lastLogLines(path, 5);
  t.equal(said.length, 2);
  // eslint-disable-next-line no-control-regex
  for (const line of said) t.notMatch(line, /[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]/);
  t.match(said[1], /Error: .*\n {4}at x/);
  t.end();
});
