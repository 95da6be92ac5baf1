import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { patternBody } from '@grantline/shared/web/pattern.js';
import { errorsOf } from '../../src/http/plan.js';
import type { HttpFile } from '../../src/http/record.js';
import { Bench } from '../e2e-kit.js';

t.setTimeout(180_000);

t.test('http loads the application in a guest and on loopback, every answer right, and leaves nothing', async (t) => {
  const bench = new Bench('http');
  t.teardown(() => bench.end());
  const json = join(bench.home, 'http.json');
  const r = await bench.run(
    ...['http', '--configs', 'baseline,optimised', '--scenario', 'json,bytes:256K,upload:64K,chunked:64K/4K,ws'],
    ...['--connections', '10', '--guests', '2', '--seconds', '0.5', '--warmup', '0.2', '--no-page', '--json', json],
  );
  // A machine that does nothing else but this may find the generator full: a void run is no fault of the path.
  t.ok(r.code === 0 || (r.code === 1 && /void: /.test(r.stderr)), `${r.stderr}${r.stdout}`);
  t.notMatch(r.stderr, /answers were wrong|not answered|broke/);
  const file = JSON.parse(readFileSync(json, 'utf8')) as HttpFile;
  t.same(
    file.runs.map((x) => `${x.target} ${x.scenario}`),
    ['loopback', 'baseline', 'optimised'].flatMap((target) =>
      ['json', 'bytes:256K', 'upload:64K', 'chunked:64K/4K', 'ws'].map((s) => `${target} ${s}`),
    ),
  );
  for (const x of file.runs) {
    const { total, errors, answered } = x.generated;
    t.ok(answered > 0, `${x.target} ${x.scenario}: ${answered} answers`);
    t.same([total.answered, errorsOf(errors)], [total.sent, 0], 'none is lost or wrong');
    if (x.cpuNsPerRequest) t.ok(x.cpuNsPerRequest.guest > 0 && x.cpuNsPerRequest.nic > 0, 'CPU of guests and NIC');
  }
  t.match(r.stdout, /closed loop[^]*json +│ optimised/);
  t.same(bench.leftovers(), []);
});

t.test('up tells where guests are reached; requests by hand get there, and are counted', async (t) => {
  const bench = new Bench('http-up');
  t.teardown(() => bench.end());
  const up = await bench.up(2);
  const doors = [...up.stdout.matchAll(/^(http:\/\/127\.0\.0\.1:\d+)\/ -> guest(\d)$/gm)];
  t.same(
    doors.map((m) => m[2]),
    ['1', '2'],
  );
  for (const [, url, guest] of doors) {
    const root = await (await fetch(url, { headers: { 'x-request-id': 'by-hand' } })).text();
    t.equal(root, `{"service":"grantline","name":"guest${guest}","id":"by-hand"}`);
  }
  const [, url] = doors[1];
  const body = Buffer.from(await (await fetch(`${url}/bytes/5000001?seed=4`)).arrayBuffer());
  t.ok(body.equals(patternBody(4, 5_000_001)), 'a body of 5 MB, byte for byte');
  const answer = await fetch(`${url}/bytes`, { method: 'POST', body: patternBody(1, 3_000_000) });
  t.equal(((await answer.json()) as { bytes: number }).bytes, 3_000_000);
  t.equal((await fetch(`${url}/nothing`)).status, 404);
  const metrics = /^guest2 +(\S+)\/documentation$/m.exec(up.stdout)?.[1] ?? '';
  const text = await (await fetch(`${metrics}/metrics`)).text();
  t.match(text, /grantline_http_requests_total\{[^}]*op="ok"[^}]*\} 3\b/);
  // No request freezes the guest: the headers of an endless body, and the body itself, a byte at a time.
  const slow = new AbortController();
  const endless = `${url}/stream/1073741824?chunk=1`;
  const heads = await Promise.all(Array.from({ length: 20 }, () => fetch(endless, { method: 'HEAD' })));
  t.ok(heads.every((head) => head.status === 200));
  const bytes = await Promise.all(Array.from({ length: 3 }, () => fetch(endless, { signal: slow.signal })));
  t.ok(bytes.every((answer) => answer.status === 200));
  t.equal((await fetch(`${url}/bytes/10`, { signal: AbortSignal.timeout(10_000) })).status, 200);
  slow.abort();
  t.match(text, /grantline_http_requests_total\{[^}]*op="client_error"[^}]*\} 1\b/);
  const compared = await bench.run(
    'http',
    '--configs',
    'direct',
    '--scenario',
    'json',
    ...['--seconds', '0.3', '--warmup', '0.1'],
    '--no-page',
  );
  t.match(compared.stderr, /Using the testbed that runs/);
  t.match(compared.stdout, /direct/);
  t.equal((await bench.run('down')).code, 0);
  t.same(bench.leftovers(), []);
});

t.test('what http cannot do is one line and exit code 2', async (t) => {
  const bench = new Bench('http-no');
  t.teardown(() => bench.end());
  const bad: [string[], RegExp][] = [
    [['--configs', 'native'], /native/],
    [['--scenario', 'soap'], /unknown scenario "soap"/],
    [['--connections', '0'], /connections/],
    [['--rate', 'fast'], /rate/],
    [['--no-capacity'], /leaves nothing to run/],
    [['--guests', '5', '--connections', '4'], /cannot reach 5 guests/],
    [['--scenario', 'upload:64M'], /more than the generator holds/],
  ];
  const all = await Promise.all(bad.map(([args]) => bench.run('http', ...args)));
  for (const [i, r] of all.entries()) {
    t.equal(r.code, 2, bad[i][0].join(' '));
    t.match(r.stderr, /^grantline: [^\n]+ - [^\n]+\n$/);
    t.match(r.stderr, bad[i][1]);
  }
  t.same(bench.leftovers(), []);
});
