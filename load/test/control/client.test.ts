/** Who is asked for what, and with which credential: the runner's side of HTTP. */
import { createServer, type IncomingMessage, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import t, { type Test } from 'tap';
import { observerKey, remotePage } from '../../src/live/board.js';
import { Client, ServiceClient } from '../../src/control/client.js';
import { ANSWER_BYTES_MAX, call, callBytes, HttpError, messageOf, Party } from '../../src/base/http.js';
import { setFaults } from '../../src/control/load-api.js';
import { recordedBy } from '../../src/runner/replay.js';

const TOKEN = 'OPERATORS-TOKEN';

/** A server that remembers what it was sent. */
async function server(t: Test, answer: RequestListener = (_, res) => res.end('{}')) {
  const seen: { what: string; headers: IncomingMessage['headers'] }[] = [];
  const http = createServer((req, res) => {
    seen.push({ what: `${req.method} ${req.url}`, headers: req.headers });
    req.resume();
    answer(req, res);
  }).listen(0, '127.0.0.1');
  await new Promise((done) => http.once('listening', done));
  t.teardown(() => {
    http.close();
    http.closeAllConnections();
  });
  return { url: `http://127.0.0.1:${(http.address() as AddressInfo).port}`, seen };
}

t.test(
  "the operator's token reaches the hypervisor and no service; a service is shown its own domain's key",
  async (t) => {
    const guest = await server(t);
    const hv = await server(t, (req, res) => {
      const domains = [{ domid: 1, kind: 'guest', http: guest.url, key: 'KEY1' }];
      res.end(JSON.stringify(req.url === '/api/control' ? { domains } : {}));
    });
    const page = await server(t);
    const client = new Client(hv.url, TOKEN);
    const services = await client.services();
    t.same(
      services.map((s) => [s.name, s.http]),
      [
        ['hypervisor', hv.url],
        ['guest1', guest.url],
      ],
    );
    await client.snapshot(services);
    await client.resetCounters(services);
    await client.ask(services[1], '/dump');
    await client.ask(services[1], '/pool', 'POST', {});
    await setFaults(services[1], null);
    await recordedBy(services[1]).catch(() => {});
    const withoutKey = new ServiceClient({ name: 'guest1', kind: 'guest', domid: 1, http: guest.url }, null);
    await client.resetCounters([withoutKey]);
    await remotePage(page.url, TOKEN).phase({} as never);

    t.ok(guest.seen.length >= 6);
    const text = JSON.stringify([guest.seen, page.seen]);
    t.notOk(text.includes(TOKEN), 'neither a service nor the live page was shown the token');
    for (const { what, headers } of guest.seen.slice(0, -1)) t.equal(headers.authorization, 'Bearer KEY1', what);
    t.equal(guest.seen.at(-1)?.headers.authorization, undefined);
    for (const { what, headers } of hv.seen) t.equal(headers.authorization, `Bearer ${TOKEN}`, what);
    t.equal(page.seen[0]?.headers.authorization, `Bearer ${observerKey(TOKEN)}`);
    t.notOk(JSON.stringify([client, services]).includes(TOKEN), 'nor does it come out where they are printed');
  },
);

t.test('a call follows no redirect: who is named there hears nothing', async (t) => {
  const other = await server(t);
  for (const code of [301, 302, 303, 307, 308]) {
    const guest = await server(t, (_, res) => res.writeHead(code, { location: `${other.url}/load` }).end());
    const service = new Party('guest1', guest.url, 'KEY1');
    await t.rejects(
      service.call('/counters/reset', { method: 'POST' }),
      /guest1 did not answer POST .*redirect/,
      `${code}`,
    );
    await t.rejects(call('guest1', guest.url, '/dump'), HttpError, `${code}`);
  }
  t.same(other.seen, []);
});

t.test('an answer without an end is cut off by its size, and one that comes too slowly by the time', async (t) => {
  let sent = 0;
  const endless = await server(t, (_, res) => {
    const chunk = Buffer.alloc(1 << 20);
    const more = (): void => {
      while (!res.destroyed && res.write(chunk)) sent += chunk.length;
    };
    res.on('drain', more);
    more();
  });
  const before = process.memoryUsage().arrayBuffers;
  await t.rejects(
    callBytes('guest1', endless.url, '/'),
    new HttpError(`guest1 did not answer GET /: its answer has more than ${ANSWER_BYTES_MAX} bytes`, 0),
  );
  t.ok(process.memoryUsage().arrayBuffers - before < 8 * ANSWER_BYTES_MAX);
  t.ok(sent < 16 * ANSWER_BYTES_MAX, 'and it was not read on');
  await t.rejects(callBytes('guest1', endless.url, '/', { maxBytes: 1000 }), /more than 1000 bytes/);

  const slow = await server(t, (_, res) => {
    const timer = setInterval(() => res.write('x'), 20);
    res.once('close', () => clearInterval(timer));
  });
  await t.rejects(
    callBytes('guest1', slow.url, '/', { timeoutMs: 200 }),
    /did not answer GET \/: no answer within 0.2 s/,
  );
});

t.test('a path stays with the party that was meant', async (t) => {
  const other = await server(t);
  const service = new Party('guest1', 'http://127.0.0.1:1', 'KEY1');
  for (const path of [`${other.url}/x`, `//${new URL(other.url).host}/x`])
    await t.rejects(service.call(path), RangeError, path);
  t.same(other.seen, []);
});

t.test('what a service says went wrong is one printable line of bounded length', (t) => {
  const nasty = '\x1b]0;x\x07\nok\x9b31m\u202e \x00';
  for (const text of [
    nasty,
    JSON.stringify({ message: nasty }),
    JSON.stringify({ message: nasty.repeat(1000) }),
    'null',
    '{'.repeat(1e5),
  ]) {
    const said = messageOf(text);
    // eslint-disable-next-line no-control-regex
    t.notMatch(said, /[\x00-\x1f\x7f-\x9f\u202e]/);
    t.ok(said.length <= 300);
  }
  t.equal(messageOf('{"message":"no such guest"}'), 'no such guest');
  t.end();
});

t.test('once a session has ended its client changes nothing any more, until it holds another', async (t) => {
  const guest = await server(t);
  const hv = await server(t, (req, res) => {
    if (req.method === 'POST' && req.url === '/api/session') return void res.write('{"id":1}\n');
    const domains = [{ domid: 1, kind: 'guest', http: guest.url, key: 'KEY1' }];
    res.end(JSON.stringify(req.url === '/api/control' ? { domains } : {}));
  });
  const client = new Client(hv.url, TOKEN);
  const held = await client.hold();
  const services = await client.services();
  await client.putRate(null);
  await held.end();
  for (const seen of [hv.seen, guest.seen]) seen.length = 0;
  const late = [
    client.putRate(null),
    client.resetCounters(services),
    client.ask(services[1], '/pool', 'POST', {}),
    setFaults(services[1], null),
  ];
  for (const call of late) await t.rejects(call, /the session is over/);
  t.same([hv.seen, guest.seen], [[], []], 'nothing was sent');
  await client.snapshot(services);
  t.equal(guest.seen.length, 1, 'looking is allowed');
  await client.hold();
  await client.putRate(null);
  await client.resetCounters(services);
  t.match(hv.seen.map((s) => s.what).join(), /PUT \/api\/rate/);
});
