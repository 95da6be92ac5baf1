import { execFileSync } from 'node:child_process';
import t from 'tap';

t.test('two processes read the same time, also right after their start', (t) => {
  const url = new URL('../../src/clock/clock.js', import.meta.url).href;
  const code = `import { nowNs } from '${url}'; let best = Infinity; for (let i = 0; i < 50; i++) { const d = nowNs() - Number(process.hrtime.bigint()); if (Math.abs(d) < Math.abs(best)) best = d; } process.stdout.write(String(best));`;
  const offsets = Array.from({ length: 3 }, () =>
    Number(execFileSync(process.execPath, ['--input-type=module', '-e', code])),
  );
  for (const offset of offsets) t.ok(Math.abs(offset) < 200_000, `${offset} ns from the system's clock`);
  t.end();
});
