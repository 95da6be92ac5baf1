import { execFile } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import t from 'tap';
import { patternBody } from '@grantline/measure';
import { errorsOf, type HttpFile } from '../../src/http/plan.js';
import { Bench, eventually, voided } from '../e2e/kit.js';

t.setTimeout(180_000);

t.test('http loads the application in a guest and on loopback, every answer right, and leaves nothing', async (t) => {
  const bench = new Bench('http');
  t.teardown(() => bench.end());
  const json = join(bench.home, 'http.json');
  const r = await bench.run(
    ...['http', '--configs', 'baseline,optimised', '--scenario', 'json,bytes:256K,upload:64K,chunked:64K/4K,ws'],
    ...['--connections', '10', '--guests', '2', '--seconds', '0.5', '--warmup', '0.2', '--no-page', '--json', json],
  );
  t.ok(r.code === 0 || voided(r), `${r.stderr}${r.stdout}`);
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

const run = promisify(execFile);
/** curl, as anybody uses it. @returns what it printed; its exit code must be 0 */
const curl = async (...args: string[]): Promise<string> =>
  (await run('curl', ['-sS', '-m', '30', ...args], { encoding: 'latin1', maxBuffer: 64 << 20 })).stdout;
const hasCurl = await run('curl', ['--version']).then(
  ({ stdout }) => stdout,
  () => null,
);

t.test(
  'curl through the edge: headers alone, an offer of HTTP/2, parts, and bodies both ways',
  { skip: hasCurl === null && 'there is no curl here' },
  async (t) => {
    const bench = new Bench('http-curl');
    t.teardown(() => bench.end());
    const up = await bench.up(1);
    const url = /^(http:\S+)\/ -> guest1$/m.exec(up.stdout)?.[1] ?? '';
    for (const path of ['/', '/bytes/1000', '/bytes/1073741824', '/stream/1073741824?chunk=1']) {
      const head = await curl('-I', `${url}${path}`);
      t.match(head, /^HTTP\/1\.1 200 /, `-I ${path}`);
      t.equal(
        head.trimEnd().split('\r\n').length,
        head.trimEnd().split('\n').length,
        'headers and nothing behind them',
      );
    }
    t.match(await curl('-I', `${url}/bytes/1000`), /^content-length: 1000\r$/im);
    t.match(await curl('-I', `${url}/nothing`), /^HTTP\/1\.1 404 /);
    const offered = /HTTP2/.test(hasCurl ?? '') ? ['--http2'] : ['-H', 'Connection: Upgrade', '-H', 'Upgrade: h2c'];
    const plain = await curl(`${url}/`);
    const twice = await curl(...offered, '-w', '|%{http_code} %{http_version} %{num_connects}\n', `${url}/`, `${url}/`);
    t.equal(twice, `${plain}|200 1.1 1\n${plain}|200 1.1 0\n`, 'the offer is ignored, and the connection stays');
    const body = patternBody(7, 100_000);
    const posted = await curl(...offered, '--data-binary', 'abc', `${url}/bytes?hash=crc32`);
    t.match(posted, /"bytes":3/, 'a body with an offer');
    const whole = await curl('-r', '10-19', '-w', '|%{http_code}', `${url}/bytes/100000?seed=7`);
    const at = whole.lastIndexOf('|');
    const [got, code] = [Buffer.from(whole.slice(0, at), 'latin1'), whole.slice(at + 1)];
    // Who does not serve parts answers with the whole, and says so by its status (RFC 9110, 14.2).
    t.ok(code === '206' ? got.equals(body.subarray(10, 20)) : code === '200' && got.equals(body), `a range: ${code}`);
    t.ok(Buffer.from(await curl(`${url}/bytes/100000?seed=7`), 'latin1').equals(body), 'a body down, byte for byte');
    t.ok(Buffer.from(await curl(`${url}/stream/100000?seed=7&chunk=3`), 'latin1').equals(body), 'in chunks');
    const file = join(bench.home, 'body');
    writeFileSync(file, body);
    t.match(await curl('--data-binary', `@${file}`, `${url}/bytes`), /"bytes":100000/, 'a body up');
    t.match(await curl('-T', file, '-X', 'POST', '-H', 'Transfer-Encoding: chunked', `${url}/bytes`), /"bytes":100000/);
    t.equal((await bench.run('down')).code, 0);
    t.same(bench.leftovers(), []);
  },
);

t.test(
  'F14: a thousand readers that read nothing cost the edge no more than it has for all; others are served',
  async (t) => {
    const bench = new Bench('http-slow');
    t.teardown(() => bench.end());
    const up = await bench.up(2);
    const door = (guest: number): string =>
      new RegExp(`^(http:\\S+)/ -> guest${guest}$`, 'm').exec(up.stdout)?.[1] ?? '';
    const nic = /^nic +(\S+)\/documentation$/m.exec(up.stdout)?.[1] ?? '';
    const resident = async (): Promise<number> =>
      ((await (await fetch(`${nic}/counters`)).json()) as { rssBytes: number }).rssBytes;
    const before = await resident();
    const { hostname, port, host } = new URL(door(1));
    const sockets = Array.from({ length: 1000 }, () => {
      const s = connect(Number(port), hostname).pause();
      s.on('error', () => {});
      s.write(`GET /bytes/100000000 HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
      return s;
    });
    t.teardown(() => sockets.forEach((s) => s.destroy()));
    const counted = async (op: string): Promise<number> => {
      const text = await (await fetch(`${nic}/metrics`)).text();
      return Number(
        new RegExp(`^grantline_edge_connections_total\\{[^}]*op="${op}"[^}]*\\} (\\d+)$`, 'm').exec(text)?.[1],
      );
    };
    await eventually('all have come', async () => (await counted('opened')) >= 1000, 200);
    // The most that it takes, however long that takes.
    let most = 0;
    for (let same = 0; same < 10; same++) {
      const now = await resident();
      if (now > most + (1 << 20)) same = 0;
      most = Math.max(most, now);
      await new Promise((done) => setTimeout(done, 100));
    }
    t.ok(most - before < 200 << 20, `${Math.round((most - before) / 2 ** 20)} MiB more than before`);
    const answer = await fetch(door(2), { signal: AbortSignal.timeout(60_000) });
    t.equal(answer.status, 200, 'the other guest is reached');
    t.equal(await counted('refused_all'), 0);
    sockets.forEach((s) => s.resetAndDestroy());
    const again = await fetch(door(1), { signal: AbortSignal.timeout(60_000) });
    t.equal(again.status, 200, 'and so is this one, when they are gone');
    t.equal((await bench.run('down')).code, 0);
    t.same(bench.leftovers(), []);
  },
);

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
