import { readFileSync } from 'node:fs';
import { request } from 'node:http';
import t from 'tap';
import { XENBUS } from '@grantline/xen';
import { threadCpuNs, CPU_COUNTERS } from '@grantline/machine';
import { bed } from './bed.js';

const FRONT = '/local/domain/1/device/vif/0';
const BACK = '/local/domain/1000/backend/vif/1/0';

t.test(
  "the operator's API needs the operator's token, to look as well as to change; health and figures do not",
  async (t) => {
    const b = await bed(t);
    for (const [method, path, body] of [
      ['POST', '/api/domains', { kind: 'guest' }],
      ['DELETE', '/api/domains/1', undefined],
      ['PUT', '/api/config', { lro: true }],
      ['PUT', '/api/rate', { rate: null }],
      ['PUT', '/api/nested', { nested: true }],
      ['PUT', '/api/run', { id: 1, seed: 1, mode: 'off', frameSizes: [], guests: [] }],
      ['POST', '/api/shutdown', undefined],
      ['POST', '/counters/reset', undefined],
      ['POST', '/api/domains/1/counters', undefined],
      ['POST', '/api/session', { owner: 'a test' }],
      ...(
        [
          ...[
            '/api/testbed',
            '/api/config',
            '/api/rate',
            '/api/run',
            '/api/xenstore',
            '/api/control',
            '/api/session',
            '/api/nested',
          ],
          ...['/api/domains/1/grants', '/api/domains/1/ports', '/api/domains/1/control', '/dump'],
        ] as const
      ).map((path) => ['GET', path, undefined] as const),
    ] as const) {
      t.equal((await b.api(method, path, body, 'wrong')).status, 401, `${method} ${path}`);
    }
    for (const path of [
      '/health/live',
      '/health/ready',
      '/metrics',
      '/counters',
      '/prometheus/targets',
      '/documentation',
    ])
      t.equal((await fetch(b.url + path)).status, 200, path);
    t.same((await b.api('GET', '/api/testbed')).body.domains, []);
    t.equal(b.stopped(), 0);
    t.same(await b.api('POST', '/api/shutdown'), { status: 200, body: {} });
    await new Promise((r) => setImmediate(r));
    t.equal(b.stopped(), 1);
  },
);

t.test(
  'dumps, figures and what the operator looks at hold no secret: neither control keys nor tokens nor secrets of domains',
  async (t) => {
    const b = await bed(t);
    const { domid, secret } = await b.create('guest');
    await b.open('driver-domain');
    const tokens = ['guest', 'driver-domain', 'nic'].map((kind) =>
      readFileSync(`${b.dir}/join/${kind}`, 'utf8').trim(),
    );
    const secrets = [secret, ...tokens, ...b.hv.domains.list().map((d) => d.controlKey)];
    t.equal(secrets.length, 6);
    for (const path of [
      '/dump',
      '/api/testbed',
      '/api/config',
      '/api/xenstore',
      `/api/domains/${domid}/grants`,
      `/api/domains/${domid}/ports`,
      '/counters',
      '/metrics',
      '/prometheus/targets',
    ]) {
      const answer = await fetch(b.url + path, { headers: { authorization: 'Bearer operator' } });
      t.equal(answer.status, 200, path);
      const text = await answer.text();
      t.same(
        secrets.filter((s) => text.includes(s)),
        [],
        path,
      );
    }
  },
);

t.test('wrong input is 400 or 404 with a message that says what', async (t) => {
  const b = await bed(t);
  await b.create('guest');
  t.equal((await b.api('POST', '/api/domains', { kind: 'toolstack' })).status, 400);
  t.equal((await b.api('POST', '/api/domains', {})).status, 400);
  t.equal((await b.api('DELETE', '/api/domains/7')).status, 404);
  t.equal((await b.api('GET', '/api/domains/7/grants')).status, 404);
  t.equal((await b.api('GET', '/api/domains/x/ports')).status, 400);
  t.equal((await b.api('GET', '/api/xenstore?path=/nothing')).status, 404);
  t.equal((await b.api('GET', '/api/xenstore?path=//')).status, 400);
  const factor = await b.api('PUT', '/api/config', { turbo: true });
  t.same(
    [factor.status, factor.body.message],
    [400, "unknown factor 'turbo': the factors are path, nicQueues, grants, bufferBytes, lro, batching, tso"],
  );
  const value = await b.api('PUT', '/api/config', { bufferBytes: 1024 });
  t.same([value.status, value.body.message], [400, 'factor bufferBytes cannot be 1024: it is one of 4096, 2048']);
  t.equal((await b.api('PUT', '/api/config', { lro: 'true' })).status, 400, 'text is no boolean');
  t.equal((await b.api('PUT', '/api/run', { id: 1, seed: 1, mode: 'fast', frameSizes: [], guests: [] })).status, 400);
  t.equal((await b.api('GET', '/api/config')).body.generation, 1, 'nothing was changed');
});

t.test('a vif is settled when both ends have taken the current generation over', async (t) => {
  const b = await bed(t);
  const dd = await b.open('driver-domain');
  const g = await b.open('guest');
  t.same(await dd.ask('xs.read', { path: `${BACK}/generation` }), { value: '1' });
  t.same(await dd.ask('xs.read', { path: `${BACK}/nic-queues` }), { value: 'single' });
  await dd.ask('xs.watch', { path: `${BACK}/generation`, token: 'g' });
  await dd.event('xs.watch');
  const put = await b.api('PUT', '/api/config', { nicQueues: 'per-guest', lro: true, bufferBytes: 2048 });
  t.same(put, { status: 200, body: { generation: 2 } });
  await dd.event('xs.watch', 2);
  for (const [key, value] of [
    ['generation', '2'],
    ['nic-queues', 'per-guest'],
    ['lro', '1'],
    ['batching', '0'],
    ['buffer-bytes', '2048'],
    ['path', 'split'],
    ['grants', 'per-frame'],
  ])
    t.same(await g.ask('xs.read', { path: `${BACK}/${key}` }), { value }, key);
  const settled = async (): Promise<boolean> => (await b.api('GET', '/api/config')).body.settled;
  const write = (who: typeof g, path: string, value: string | number): Promise<unknown> =>
    who.ask('xs.write', { path, value: String(value) });
  await write(g, `${FRONT}/state`, XENBUS.connected);
  await write(dd, `${BACK}/state`, XENBUS.connected);
  await write(g, `${FRONT}/generation-ack`, 2);
  await write(dd, `${BACK}/generation-ack`, 1);
  t.equal(await settled(), false);
  await write(dd, `${BACK}/generation-ack`, 2);
  t.equal(await settled(), true);
  await write(g, `${FRONT}/state`, 'Connected; drop table');
  t.equal(await settled(), false);
  t.same((await b.api('GET', '/api/config')).body.vifs, [
    { vif: 'vif1.0', backend: 'connected', frontend: 'unknown', backendAck: 2, frontendAck: 2, error: null },
  ]);
  const error = async (): Promise<string> =>
    ((await b.api('GET', '/api/config')).body.vifs as { error: string }[])[0].error;
  await write(g, `${FRONT}/error`, 'no page is free');
  t.equal(await error(), 'frontend: no page is free');
  await write(dd, `${BACK}/error`, 'there is no nic');
  t.equal(await error(), 'there is no nic; frontend: no page is free');
  await write(g, `${FRONT}/error`, 'x'.repeat(2000));
  t.equal((await error()).length, 'there is no nic; frontend: '.length + 200);
  await write(g, `${FRONT}/error`, '\x1b]0;x\x07\nok\x9b2J');
  t.equal(await error(), 'there is no nic; frontend: \ufffd]0;x\ufffd ok\ufffd2J', 'fit for a terminal');
  await b.api('PUT', '/api/config', { path: 'native' });
  await write(dd, `${BACK}/generation-ack`, 3);
  await write(dd, `${BACK}/state`, XENBUS.closed);
  t.equal(await settled(), false);
  await write(g, `${FRONT}/state`, XENBUS.closed);
  t.equal(await settled(), true, 'native: both closed');
});

t.test('a run is written for the receivers, and those that are ready are listed', async (t) => {
  const b = await bed(t);
  const dd = await b.open('driver-domain');
  const g = await b.open('guest');
  t.same((await b.api('GET', '/api/run')).body, { run: null, ready: [] });
  const run = { id: 5, seed: 7, mode: 'verify', frameSizes: [60, 1514], guests: [1] };
  t.equal((await b.api('PUT', '/api/run', run)).status, 200);
  t.same(JSON.parse((await g.ask('xs.read', { path: '/tool/run' })).value), run);
  t.equal(await g.ask('xs.write', { path: '/tool/run', value: '{}' }), 'EACCES');
  await g.ask('xs.write', { path: 'data/run-ready', value: '4' });
  t.same((await b.api('GET', '/api/run')).body, { run, ready: [] });
  await g.ask('xs.write', { path: 'data/run-ready', value: '5' });
  await dd.ask('xs.write', { path: 'data/run-ready', value: '5' });
  t.same((await b.api('GET', '/api/run')).body, { run, ready: [1, 1000] });
});

t.test('destroying a domain closes its socket and takes it off the list', async (t) => {
  const b = await bed(t);
  const g = await b.open('guest');
  const http = await g.announce();
  const { pid } = process;
  t.match((await b.api('GET', '/api/testbed')).body.domains, [
    { domid: 1, state: 'running', http, pid, mac: '00:16:3e:00:00:01', ip: '10.77.0.1' },
  ]);
  t.equal((await b.api('DELETE', '/api/domains/1')).status, 200);
  await g.until(() => g.closeCode !== null);
  t.same((await b.api('GET', '/api/testbed')).body.domains, []);
  t.equal((await b.create('guest')).domid, 2);
});

t.test('guests go up to 32 and memory mapped for destroyed ones is used again', async (t) => {
  const b = await bed(t);
  const bases = new Set<number>();
  for (let n = 1; n <= 32; n++) {
    const { domid } = await b.create('guest');
    bases.add(b.hv.memory.get(domid)!.base);
    await b.api('DELETE', `/api/domains/${domid}`);
  }
  t.equal(bases.size, 1);
  t.equal((await b.create('guest')).domid, 1, 'the number that has been free the longest');
  for (let n = 2; n <= 32; n++) t.equal((await b.create('guest')).domid, n);
  const over = await b.api('POST', '/api/domains', { kind: 'guest' });
  t.equal(over.status, 409);
  t.match(over.body.message, /there are 32 guests/);
});

t.test('the socket file answers hypercalls only, whatever is shown to it: every guest reaches it', async (t) => {
  const b = await bed(t);
  const headers = { authorization: 'Bearer operator' };
  const ask = (method: string, path: string): Promise<{ status: number; text: string }> =>
    new Promise((resolve, reject) => {
      const asked = request({ socketPath: `${b.dir}/hypervisor.sock`, method, path, headers }, (res) => {
        let text = '';
        res
          .on('data', (d: Buffer) => (text += d.toString()))
          .on('end', () => resolve({ status: res.statusCode!, text }));
      });
      asked.on('error', reject).end();
    });
  for (const path of ['/api/testbed', '/api/xenstore', '/dump', '/counters', '/metrics', '/documentation/json', '/'])
    t.same(await ask('GET', path), { status: 404, text: '' }, path);
  t.same(await ask('POST', '/api/shutdown'), { status: 404, text: '' });
});

t.test('keys are told to the operator, for services that have said where they answer', async (t) => {
  const b = await bed(t);
  const g = await b.open('guest');
  t.same((await b.api('GET', '/api/control')).body, { domains: [] });
  t.equal((await b.api('GET', '/api/domains/1/control')).status, 404);
  const access = { domid: 1, kind: 'guest', http: await g.announce(), key: b.hv.domains.get(1)!.controlKey };
  t.same((await b.api('GET', '/api/control')).body, { domains: [access] });
  t.same((await b.api('GET', '/api/domains/1/control')).body, access);
});

t.test(
  'a limit on what vifs send is in the node that netback watches, of all guests or of one, and of those to come',
  async (t) => {
    const b = await bed(t);
    await b.create('guest');
    await b.create('guest');
    const node = async (guest: number): Promise<unknown> => {
      const r = await b.api('GET', `/api/xenstore?path=/local/domain/1000/backend/vif/${guest}/0/rate`);
      return r.status === 404 ? null : JSON.stringify(r.body);
    };
    t.equal(await node(1), null);
    t.equal((await b.api('PUT', '/api/rate', { rate: '100Mb/s' })).status, 200);
    t.match(await node(1), /625000,50000/);
    t.equal((await b.api('PUT', '/api/rate', { rate: '1MB/s@20ms', guest: 2 })).status, 200);
    await b.create('guest');
    t.same((await b.api('GET', '/api/rate')).body.rates, [
      { vif: 'vif1.0', rate: '625000,50000' },
      { vif: 'vif2.0', rate: '20000,20000' },
      { vif: 'vif3.0', rate: '625000,50000' },
    ]);
    t.match(await node(3), /625000,50000/);
    t.equal((await b.api('PUT', '/api/rate', { rate: '1Mb/s', guest: 9 })).status, 404);
    for (const rate of ['fast', '0Mb/s', '1b/s@1us', '10Mb', '999999999GB/s@4294s', '1MB/s@9999s']) {
      const r = await b.api('PUT', '/api/rate', { rate });
      t.equal(r.status, 400, rate);
      t.match(r.body.message, /^rate "/);
    }
    t.equal((await b.api('PUT', '/api/rate', { rate: null, guest: 1 })).status, 200);
    t.equal(await node(1), null);
    t.equal((await b.api('PUT', '/api/rate', { rate: null })).status, 200);
    t.same([await node(2), await node(3)], [null, null]);
  },
);

t.test(
  'H16 that others stand behind a guest is said in its backend directory and to the nic, not by the guest',
  async (t) => {
    const b = await bed(t);
    const nic = await b.open('nic');
    const guest = await b.open('guest');
    await b.create('guest');
    t.match(await nic.event('domain.new'), { domid: 1, mac: '00:16:3e:00:00:01', ip: '10.77.0.1', nested: false });
    const node = async (domid: number): Promise<unknown> =>
      JSON.stringify((await b.api('GET', `/api/xenstore?path=/local/domain/1000/backend/vif/${domid}/0/nested`)).body);
    t.match(await node(1), /"0"/);
    t.same((await b.api('PUT', '/api/nested', { nested: true, guest: 1 })).body, { nested: [1] });
    t.match(await node(1), /"1"/);
    t.match(await node(2), /"0"/);
    t.same(await nic.event('domain.nested'), { domid: 1, nested: true });
    const path = '/local/domain/1000/backend/vif/1/0/nested';
    t.equal(await guest.ask('xs.write', { path, value: '1' }), 'EACCES');
    t.equal((await b.api('PUT', '/api/nested', { nested: true, guest: 9 })).status, 404);
    t.same((await b.api('PUT', '/api/nested', { nested: true })).body, { nested: [1, 2] });
    await b.create('guest');
    t.same((await b.api('GET', '/api/nested')).body, { nested: [1, 2, 3] });
    t.same((await b.api('PUT', '/api/nested', { nested: false })).body, { nested: [] });
  },
);

t.test('the parts of the CPU time end where the measured time ends, however long the request took', async (t) => {
  const b = await bed(t);
  const { accounting } = b.hv;
  const sum = (blocks: { kind: string; values: Record<string, number> }[]): number =>
    Object.values(blocks.find(({ kind }) => kind === CPU_COUNTERS.kind)!.values).reduce((x, y) => x + y, 0);
  accounting.settle();
  const before = threadCpuNs() - sum(b.hv.counterFile.snapshot());
  const settle = accounting.settle.bind(accounting);
  let times = 0;
  accounting.settle = () => {
    settle();
    // When the request has come: something else is done first.
    if (times++ > 0) return;
    const end = threadCpuNs() + 50e6;
    while (threadCpuNs() < end);
  };
  const { body } = await b.api('GET', '/counters');
  t.ok(body.dataThreadCpuNs - before - sum(body.blocks) < 50e6, 'what was done meanwhile is in the parts, too');
});
