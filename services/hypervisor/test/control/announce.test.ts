/** An address that a domain announces must be its own: commands and Prometheus go there because the hypervisor says so. */
import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { hostname } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { WebSocket } from 'ws';
import { whyNotOwn } from '../../src/control/announced.js';
import { bed, listening, Peer, type Bed } from './bed.js';

/** A guest at the socket file, as services of this machine are. */
async function atFile(b: Bed): Promise<Peer> {
  const { domid, secret } = await b.create('guest');
  const ws = new WebSocket(`ws+unix://${join(b.dir, 'hypervisor.sock')}:/hypercall`, {
    headers: { 'x-grantline-domid': String(domid), authorization: `Bearer ${secret}` },
  });
  const peer = new Peer(ws, domid);
  await peer.until(() => peer.events.length > 0);
  return peer;
}

/** One that is no domain. @returns its address */
async function stranger(t: Test, prove: (question: string) => string): Promise<string> {
  const server = await listening('127.0.0.1', prove);
  t.teardown(() => server.close());
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const { pid } = process;

for (const way of ['the socket file', 'TCP'])
  t.test(`by ${way}: where the domain itself listens, and nowhere else`, async (t) => {
    const b = await bed(t, undefined, undefined, { proofMs: 2000 });
    const open = (): Promise<Peer> => (way === 'TCP' ? b.open('guest') : atFile(b));
    let guest = await open();
    const other = await open();
    const refused = [
      'http://127.0.0.1:1',
      await other.announce(),
      b.url,
      b.url.replace('http:', 'https:'),
      await stranger(t, (question) => question),
      await stranger(t, () => 'x'.repeat(64)),
      await stranger(t, () => 'x'.repeat(1 << 20)),
      'http://169.254.169.254',
      'http://grafana:3000',
      'http://192.0.2.1:80',
      // A container's number, where there are no containers.
      'http://0123456789ab:7600',
    ];
    for (const [n, http] of refused.entries()) {
      // A domain may not ask for ever.
      if (n % 8 === 7) guest = await open();
      t.equal(await guest.ask('service.announce', { http, pid }), 'EINVAL', http);
      t.equal(b.hv.domains.get(guest.domid)?.http, null);
    }
    guest = await open();
    const own = [
      await guest.listen('127.0.0.1'),
      await guest.listen('127.0.0.1', 'localhost'),
      await guest.listen('127.0.0.5'),
      await guest.listen('0.0.0.0', '127.0.0.1'),
    ];
    for (const http of own) {
      t.same(await guest.ask('service.announce', { http, pid }), {}, http);
      t.equal(b.hv.domains.get(guest.domid)?.http, http);
    }
  });

t.test('who never answers is waited for in vain, and for a bounded time', async (t) => {
  const b = await bed(t, undefined, undefined, { proofMs: 50 });
  const guest = await atFile(b);
  const silent = createServer(() => {}).listen(0, '127.0.0.1');
  await once(silent, 'listening');
  t.teardown(() => silent.close());
  const http = `http://127.0.0.1:${(silent.address() as AddressInfo).port}`;
  t.equal(await guest.ask('service.announce', { http, pid }), 'EINVAL');
});

t.test('who asks again and again is not looked at any more', async (t) => {
  const b = await bed(t);
  const guest = await atFile(b);
  const said = [];
  for (let n = 0; n < 20; n++) said.push(await guest.ask('service.announce', { http: 'http://127.0.0.1:1', pid: 1 }));
  t.equal(said[0], 'EINVAL');
  t.equal(said.at(-1), 'EBUSY');
});

t.test("in a container: by the container's number and no other name; from elsewhere: where it came from", async (t) => {
  const rule = { containers: true, limitMs: 50 };
  const contained = { controlKey: 'k', from: null };
  t.equal(await whyNotOwn('http://0123456789ab:7600', contained, rule), null);
  for (const http of [
    'http://hypervisor:7600',
    'http://grafana:3000',
    'http://169.254.169.254',
    'http://nic:7600',
    'http://0123456789ab.evil:80',
    'http://0123456789abc:80',
    'http://127.0.0.1:1',
    `http://${hostname().toLowerCase()}:1`,
    'file:///etc/passwd',
    'ftp://0123456789ab',
    'http://0123456789ab/x',
    'http://a@0123456789ab',
    '',
  ])
    t.type(await whyNotOwn(http, contained, rule), 'string', http);
  // TEST-NET-2: nobody answers there, so only the reason tells the two apart.
  const far = { controlKey: 'k', from: '::ffff:198.51.100.7' };
  t.match(await whyNotOwn('http://198.51.100.7:7600', far, rule), /who listens/);
  for (const http of ['http://198.51.100.8:7600', 'http://far.example:7600', 'http://0123456789ab:7600'])
    t.match(await whyNotOwn(http, far, rule), /is not where the domain is/, http);
});
