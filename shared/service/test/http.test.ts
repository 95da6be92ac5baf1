import t, { type Test } from 'tap';
import { connect, createServer } from 'node:net';
import { COUNTER_FILE_BYTES, CounterFile, AddressSpace, makeMemory } from '@grantline/machine';
import { NIC_QUEUE_COUNTERS } from '@grantline/observe';
import { createHttp, listenHttp, type CountersBody, type ServiceHttp } from '../src/http.js';
import { UsageError } from '@grantline/base';
import { quiet } from './fake-hypervisor.js';

const KEY = 'c'.repeat(64);
const withKey = { authorization: `Bearer ${KEY}` };

interface Bed {
  app: ServiceHttp;
  file: CounterFile;
  state: { ready: boolean; resets: number };
}

function bed(t: Test): Bed {
  const file = new CounterFile(new AddressSpace(1 << 20), makeMemory('test', COUNTER_FILE_BYTES));
  const state = { ready: false, resets: 0 };
  const app = createHttp({
    name: 'test',
    domain: 'guest1',
    log: quiet,
    counterFile: file,
    ...{ listen: { host: '127.0.0.1', port: 0 }, names: ['hypervisor', 'lab.example:8443'], key: KEY },
    ready: () => state.ready,
    dump: () => ({ rings: [1, 2] }),
    onReset: () => state.resets++,
  });
  t.teardown(async () => {
    await app.close();
  });
  return { app, file, state };
}

t.test('ready is 503 until the service is ready; live always answers', async (t) => {
  const { app, state } = bed(t);
  t.equal((await app.inject('/health/ready')).statusCode, 503);
  t.equal((await app.inject('/health/live')).statusCode, 200);
  state.ready = true;
  const r = await app.inject('/health/ready');
  t.equal(r.statusCode, 200);
  t.same(r.json(), { status: 'ready' });
});

t.test('counters are told by block, with CPU time and memory, and can be reset', async (t) => {
  const { app, file, state } = bed(t);
  const block = file.block(NIC_QUEUE_COUNTERS, { queue: 'vif1.0' });
  block.v[0] = 5;
  block.commit();
  const body = (await app.inject('/counters')).json<CountersBody>();
  t.ok(body.atNs > 0 && body.processCpuNs >= body.dataThreadCpuNs && body.dataThreadCpuNs > 0 && body.rssBytes > 1e6);
  t.equal(body.blocks.length, 1);
  t.equal(body.blocks[0].kind, 'nicQueue');
  t.same(body.blocks[0].labels, { queue: 'vif1.0' });
  t.equal(body.blocks[0].values.frames, 5);
  t.equal(Object.keys(body.blocks[0].values).length, NIC_QUEUE_COUNTERS.names.length);
  t.equal((await app.inject({ method: 'POST', url: '/counters/reset', headers: withKey })).statusCode, 200);
  t.equal((await app.inject('/counters')).json<CountersBody>().blocks[0].values.frames, 0);
  t.equal(state.resets, 1);
});

t.test('dump is whatever the service tells', async (t) => {
  const { app } = bed(t);
  t.same((await app.inject({ url: '/dump', headers: withKey })).json(), { rings: [1, 2] });
});

t.test('the OpenAPI page names every route, also those that a service adds', async (t) => {
  const { app } = bed(t);
  app.get('/load', { schema: { summary: 'own route' } }, () => ({}));
  await app.ready();
  const doc = (await app.inject('/documentation/json')).json<{ paths: Record<string, unknown> }>();
  for (const path of ['/health/live', '/health/ready', '/metrics', '/counters', '/counters/reset', '/dump', '/load'])
    t.ok(doc.paths[path], path);
  t.equal((await app.inject('/documentation')).statusCode, 200);
});

t.test(
  'what changes or reveals something needs the key, on every route that does not say it is open; figures and health do not',
  async (t) => {
    const { app, state } = bed(t);
    // Routes as a service adds them, which say nothing of keys.
    app.get('/recorded', { schema: { summary: 'own route' } }, () => 'frames');
    app.post('/send', { schema: { summary: 'own route' } }, () => ({}));
    const wrong = [undefined, '', 'Bearer', 'Bearer ', `Bearer ${KEY}x`, KEY, `Basic ${KEY}`];
    for (const [method, url] of [
      ['GET', '/dump'],
      ['HEAD', '/dump'],
      ['GET', '/recorded'],
      ['POST', '/send'],
      ['POST', '/counters/reset'],
    ] as const) {
      for (const authorization of wrong)
        t.equal(
          (await app.inject({ method, url, headers: authorization === undefined ? {} : { authorization } })).statusCode,
          401,
          `${method} ${url} ${authorization}`,
        );
      t.equal((await app.inject({ method, url, headers: withKey })).statusCode, 200, `${method} ${url}`);
    }
    t.equal(state.resets, 1);
    for (const url of ['/health/live', '/metrics', '/counters', '/documentation', '/documentation/json'])
      t.equal((await app.inject(url)).statusCode, 200, url);
    t.equal((await app.inject('/nothing')).statusCode, 404);
  },
);

t.test(
  'a request under a name that is none of the server is 421, one of a page of another site 403, also with the key',
  async (t) => {
    const { app } = bed(t);
    const status = async (headers: Record<string, string>, url = '/dump'): Promise<number> =>
      (await app.inject({ url, headers: { ...withKey, ...headers } })).statusCode;
    for (const host of [
      'evil.example',
      'evil.example:7600',
      '10.0.0.9',
      'localhost.evil.example',
      'lab.example.evil',
      'a b',
    ])
      for (const url of ['/dump', '/metrics', '/health/live', '/documentation/json', '/nothing'])
        t.equal(await status({ host }, url), 421, `${host} ${url}`);
    for (const host of [
      '127.0.0.1:1',
      'localhost',
      '[::1]:7600',
      'hypervisor:7600',
      'HYPERVISOR',
      'lab.example',
      'lab.example:1',
    ])
      t.equal(await status({ host }), 200, host);
    const host = '127.0.0.1:7600';
    for (const origin of ['http://127.0.0.1:7600', 'https://lab.example:8443'])
      t.equal(await status({ host, origin }), 200, origin);
    for (const origin of [
      'http://evil.example',
      'null',
      'http://127.0.0.1:7601',
      'https://lab.example',
      'http://lab.example:8443',
    ])
      t.equal(await status({ host, origin }), 403, origin);
  },
);

t.test('it listens on a free port and tells the URL; a port in use is a usage error of one line', async (t) => {
  const { app } = bed(t);
  const url = await listenHttp(app, { host: '127.0.0.1', port: 0 });
  t.equal((await fetch(`${url}/health/live`)).status, 200);
  const busy = createServer().listen(0, '127.0.0.1');
  t.teardown(() => busy.close());
  await new Promise((resolve) => busy.once('listening', resolve));
  const port = (busy.address() as { port: number }).port;
  const { app: second } = bed(t);
  await t.rejects(
    listenHttp(second, { host: '127.0.0.1', port }),
    new UsageError(`127.0.0.1:${port} is in use: stop what listens there, or set GRANTLINE_HTTP`),
  );
  const { app: third } = bed(t);
  await t.rejects(
    listenHttp(third, { host: '192.0.2.1', port: 0 }),
    /set GRANTLINE_HTTP to an address of this machine/,
  );
});

t.test(
  'H35: no request of a service costs more than it may: bodies, headers, parts and requests without end',
  async (t) => {
    const { app } = bed(t);
    app.post('/send', { schema: { summary: 'own route' } }, () => ({}));
    const url = new URL(await listenHttp(app, { host: '127.0.0.1', port: 0 }));
    /** What the server says to that, until it closes; it may close while we still write. */
    const say = (text: string | Buffer, piece?: Buffer): Promise<string> =>
      new Promise((done) => {
        const s = connect(Number(url.port), url.hostname);
        let said = '';
        s.on('data', (d) => (said += d.toString('latin1')));
        s.on('error', () => {}).on('close', () => done(said));
        s.write(text);
        if (piece === undefined) return;
        const go = (): void => {
          while (!s.destroyed && s.write(piece));
        };
        s.on('drain', go);
        go();
      });
    const head = (path: string, more: string): string =>
      `${path} HTTP/1.1\r\nHost: ${url.host}\r\nAuthorization: Bearer ${KEY}\r\n${more}`;
    const json = 'Content-Type: application/json\r\nConnection: close\r\n';
    t.match(await say(head('POST /send', `${json}Content-Length: 1000000000\r\n\r\n`)), /^HTTP\/1\.1 413 /, 'a length');
    const chunk = Buffer.from(`10000\r\n${'x'.repeat(0x10000)}\r\n`);
    const endless = await say(head('POST /send', `${json}Transfer-Encoding: chunked\r\n\r\n`), chunk);
    t.match(endless, /^(HTTP\/1\.1 413 |$)/, 'chunks without end');
    t.match(
      await say(head('GET /health/live', `X: ${'y'.repeat(70_000)}\r\n\r\n`)),
      /^HTTP\/1\.1 431 /,
      'a long header',
    );
    const many = Array.from({ length: 5000 }, (_, i) => `X${i}: y\r\n`).join('');
    t.match(await say(head('GET /health/live', `${many}\r\n`)), /^HTTP\/1\.1 (431|200) /, 'many headers');
    t.match(await say(`GET /${'z'.repeat(70_000)} HTTP/1.1\r\n\r\n`), /^HTTP\/1\.1 431 /, 'a long line');
    const parts = `bytes=${Array.from({ length: 1000 }, (_, i) => `${i}-`).join(',')}`;
    const file = '/documentation/static/swagger-ui.css';
    const whole = (await say(head(`GET ${file}`, 'Connection: close\r\n\r\n'))).length;
    const got = await say(head(`GET ${file}`, `Connection: close\r\nRange: ${parts}\r\n\r\n`));
    t.ok(whole > 10_000 && got.length < whole + 2000, `${got.length} bytes for a thousand parts of ${whole}`);
    t.match(await say(head('GET /health/live', 'Connection: close\r\n\r\n')), /^HTTP\/1\.1 200 /, 'and it answers');
  },
);

t.test('H35: a service that listens on localhost has one server, the limited one', async (t) => {
  const { app } = bed(t);
  const url = await listenHttp(app, { host: 'localhost', port: 0 });
  t.equal(app.addresses().length, 1);
  t.equal((await fetch(`${url}/health/live`)).status, 200);
});
