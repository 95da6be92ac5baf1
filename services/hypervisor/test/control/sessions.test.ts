import t from 'tap';
import { request, type ClientRequest } from 'node:http';
import { bed, TOKEN, type Bed, type Peer } from './bed.js';

/** Begins a session as a command does. @returns its number, and what holds it */
function hold(b: Bed, owner = 'one'): Promise<{ id: number; connection: ClientRequest }> {
  return new Promise((done, fail) => {
    const headers = { authorization: `Bearer ${TOKEN}`, 'content-type': 'application/json' };
    const connection = request(`${b.url}/api/session`, { method: 'POST', headers, agent: false }, (response) => {
      response.on('error', () => {});
      response.once('data', (line: Buffer) =>
        done({ id: (JSON.parse(line.toString()) as { id: number }).id, connection }),
      );
    });
    connection.on('error', fail);
    connection.end(JSON.stringify({ owner }));
  });
}

async function sessionOf(b: Bed): Promise<unknown> {
  return ((await b.api('GET', '/api/session')).body as unknown as { session: unknown }).session;
}

/** A domain that follows sessions: writes down each that it is told of. */
async function follower(b: Bed): Promise<{ peer: Peer; told: string[] }> {
  const peer = await b.open('driver-domain');
  await peer.announce();
  const told: string[] = [];
  await peer.ask('xs.watch', { path: '/tool/session', token: 's' });
  void (async () => {
    for (let n = 1; ; n++) {
      await peer.event('xs.watch', n);
      const { value } = await peer.ask('xs.read', { path: '/tool/session' });
      if (value === undefined || value === told.at(-1)) continue;
      told.push(value);
      await peer.ask('xs.write', { path: 'data/session', value });
    }
  })();
  return { peer, told };
}

t.test('a session puts back what it found, however it ends: configuration, limits, run', async (t) => {
  const b = await bed(t);
  await b.api('PUT', '/api/rate', { rate: '1GB/s' });
  const guest = await b.open('guest');
  const { told } = await follower(b);
  const found = (await b.api('GET', '/api/config')).body as unknown as { factors: object };

  for (const how of ['end', 'lost'] as const) {
    const { id, connection } = await hold(b);
    t.same(told.splice(0), [`${id} open`], 'domains look at what they have before anything is changed');
    await b.api('PUT', '/api/config', { lro: true, bufferBytes: 2048 });
    await b.api('PUT', '/api/rate', { rate: null });
    const before = ((await b.api('GET', '/api/run')).body as unknown as { run: { id: number } | null }).run?.id ?? 0;
    await b.api('PUT', '/api/run', {
      id: before + 1,
      seed: 1,
      mode: 'record',
      frameSizes: [60],
      guests: [guest.domid],
    });
    // The peers are no vifs: they never settle, and are waited for as long as the limit says.
    b.hv.toolstack.settled = () => true;
    if (how === 'end') t.equal((await b.api('DELETE', `/api/session/${id}`)).status, 200);
    connection.destroy();
    while ((await sessionOf(b)) !== null) await new Promise((done) => setTimeout(done, 5));
    t.same(told.splice(0), [`${id} ending`, `${id} over`]);
    const now = (await b.api('GET', '/api/config')).body as unknown as { factors: object };
    t.same(now.factors, found.factors, `${how}: the factors`);
    t.match((await b.api('GET', '/api/rate')).body.rates, [{ rate: '50000000,50000' }]);
    const { run } = (await b.api('GET', '/api/run')).body as unknown as { run: object };
    t.match(run, { id: before + 2, mode: 'off', guests: [guest.domid] }, 'receivers let all frames pass');
  }
});

t.test('a run that was on is announced anew, and configuration that was not changed is not touched', async (t) => {
  const b = await bed(t);
  const guest = await b.open('guest');
  const run = { id: 7, seed: 5, mode: 'verify', frameSizes: [60], guests: [guest.domid] };
  await b.api('PUT', '/api/run', run);
  const { generation } = (await b.api('GET', '/api/config')).body;
  const first = await hold(b);
  await b.api('PUT', '/api/run', { ...run, id: 8, mode: 'record' });
  const ready = guest.ask('xs.write', { path: 'data/run-ready', value: '9' });
  await b.api('DELETE', `/api/session/${first.id}`);
  await ready;
  t.match((await b.api('GET', '/api/run')).body, { run: { ...run, id: 9 }, ready: [guest.domid] });
  t.equal((await b.api('GET', '/api/config')).body.generation, generation);
});

t.test('one session at a time; the next waits until all is put back', async (t) => {
  const b = await bed(t);
  const first = await hold(b, 'grantline compare (process 1 on lab)');
  const refused = await b.api('POST', '/api/session', { owner: 'two' });
  t.equal(refused.status, 409);
  t.equal(refused.body.message, 'grantline compare (process 1 on lab) is measuring on the testbed');
  t.match(await sessionOf(b), { id: first.id, stage: 'open' });
  first.connection.destroy();
  let next = await b.api('GET', '/api/session');
  while ((next.body as unknown as { session: { stage: string } | null }).session?.stage === 'open')
    next = await b.api('GET', '/api/session');
  const second = await hold(b, 'two');
  t.ok(second.id > first.id);
  t.equal((await b.api('DELETE', `/api/session/${first.id}`)).status, 200, 'the end of one that has ended');
  t.match(await sessionOf(b), { id: second.id, owner: 'two' });
  second.connection.destroy();
});

t.test('sessions need the token, and a name that can be shown', async (t) => {
  const b = await bed(t);
  t.equal((await b.api('POST', '/api/session', { owner: 'x' }, 'wrong')).status, 401);
  t.equal((await b.api('DELETE', '/api/session/1', undefined, 'wrong')).status, 401);
  for (const owner of ['', 'a\u001b[2J', 'x'.repeat(121)])
    t.equal((await b.api('POST', '/api/session', { owner })).status, 400);
  t.equal(await sessionOf(b), null);
});
