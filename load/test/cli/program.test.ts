import t from 'tap';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { REPOSITORY } from '../../src/testbed/paths.js';

const BYTES = 300_000;

t.test('a slow reader gets all that was written before the exit', async (t) => {
  const flush = new URL('../../src/cli/program.js', import.meta.url).href;
  const script = `const { flushed } = await import('${flush}');
    process.stdout.write('x'.repeat(${BYTES}));
    process.stderr.write('written');
    await flushed();
    process.exit(0);`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['ignore', 'pipe', 'pipe'] });
  // Nobody reads before all was written: the pipe is full then.
  child.stdout.pause();
  await once(child.stderr, 'data');
  let got = 0;
  child.stdout.on('data', (chunk: Buffer) => (got += chunk.length));
  child.stdout.resume();
  const [code] = (await once(child, 'close')) as [number];
  t.equal(code, 0);
  t.equal(got, BYTES);
});

t.test('what cannot be written to the standard output is told in one line, and the command fails', (t) => {
  const full = openSync('/dev/full', 'w');
  t.teardown(() => closeSync(full));
  for (const line of [['--help'], ['compare', '--help'], ['doctor']]) {
    const r = spawnSync(process.execPath, [join(REPOSITORY, 'load/bin/grantline.mjs'), ...line], {
      stdio: ['ignore', full, 'pipe'],
      encoding: 'utf8',
    });
    t.equal(r.stderr, 'grantline: no room is left for the standard output\n', line.join(' '));
    t.equal(r.status, 2, line.join(' '));
  }
  t.end();
});

t.test('a standard error that takes nothing changes nothing else', (t) => {
  const full = openSync('/dev/full', 'w');
  t.teardown(() => closeSync(full));
  const r = spawnSync(process.execPath, [join(REPOSITORY, 'load/bin/grantline.mjs'), 'nothing'], {
    stdio: ['ignore', 'pipe', full],
    encoding: 'utf8',
  });
  t.same([r.status, r.stdout], [2, '']);
  t.end();
});
