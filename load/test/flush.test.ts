import t from 'tap';
import { spawn } from 'node:child_process';
import { once } from 'node:events';

const BYTES = 300_000;

t.test('a slow reader gets all that was written before the exit', async (t) => {
  const flush = new URL('../src/cli/flush.js', import.meta.url).href;
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
