import t, { type Test } from 'tap';
import { request, type IncomingMessage } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { INBOUND, NOT_DROPPED } from '@grantline/observe';
import { readPackets } from '@grantline/observe/testkit';
import { COUNTER_FILE_BYTES, CounterFile, AddressSpace, makeMemory } from '@grantline/machine';
import { Captures, MAX_CAPTURES } from '../src/captures.js';
import { createHttp, listenHttp } from '../src/http.js';
import { quiet } from './fake-hypervisor.js';

const KEY = 'a'.repeat(64);

async function bed(t: Test, key = KEY) {
  const space = new AddressSpace(256 << 20);
  const counters = new CounterFile(space, makeMemory('test', COUNTER_FILE_BYTES));
  const http = createHttp({
    ...{ name: 'test', domain: 'guest1', log: quiet, counterFile: counters },
    ...{ ready: () => true, dump: () => ({}), listen: { host: '127.0.0.1', port: 0 }, names: [], key },
  });
  const captures = new Captures({ http, space, counters, hops: ['guest'], domain: 'guest1' });
  const url = await listenHttp(http, { host: '127.0.0.1', port: 0 });
  t.teardown(async () => {
    await http.close();
  });
  const at = space.mapPrivate(4096);
  space.mem.u8.fill(7, at, at + 4096);
  return { space, captures, url, at, metrics: async () => (await http.inject('/metrics')).body };
}

function get(url: string, query: string, key: string | null = KEY): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const asked = request(`${url}/capture?${query}`, {
      agent: false,
      headers: key === null ? {} : { authorization: `Bearer ${key}` },
    });
    asked.once('response', resolve).once('error', reject).end();
  });
}

const ALL = 'hop=guest&vif=vif1.0';

t.test('only the key opens it; a hop, vif or size that there is not is refused', async (t) => {
  const { url } = await bed(t);
  for (const key of [null, '', 'b'.repeat(64), `${KEY} `.repeat(2)])
    t.equal((await get(url, ALL, key)).statusCode, 401, String(key));
  for (const [query, status] of [
    ['hop=nic&vif=vif1.0', 404],
    ['hop=x&vif=vif1.0', 400],
    ['hop=guest&vif=1', 400],
    [`${ALL}&snaplen=0`, 400],
    [`${ALL}&buffer=100`, 400],
    [`${ALL}&mac=x`, 400],
  ] as const)
    t.equal((await get(url, query)).statusCode, status, query);
  const closed = await bed(t, '');
  t.equal((await get(closed.url, ALL, '')).statusCode, 401, 'without a key nobody may');
});

t.test('frames come while the request lasts, with statistics behind them; then the probe is off', async (t) => {
  const b = await bed(t);
  const probe = b.captures.probe('guest', 'vif1.0');
  t.equal(probe.on, false);
  const response = await get(b.url, `${ALL}&snaplen=100&epoch=1000000000000000000`);
  t.equal(probe.on, true);
  const parts: Buffer[] = [];
  response.on('data', (part: Buffer) => parts.push(part)).on('error', () => {});
  for (let i = 0; i < 500; i++) probe.frame(b.at, 60 + i, INBOUND, NOT_DROPPED);
  const told = (): bigint => {
    try {
      return readPackets(Buffer.concat(parts)).statistics.get(0)?.received ?? 0n;
    } catch {
      return 0n;
    }
  };
  for (let i = 0; i < 3000 && told() < 500n; i++) await sleep(10);
  const { packets, statistics } = readPackets(Buffer.concat(parts));
  t.same(
    packets.map((p) => [p.bytes.length, p.length]),
    Array.from({ length: 500 }, (_, i) => [Math.min(100, 60 + i), 60 + i]),
  );
  t.match(statistics.get(0), { received: 500n, dropped: 0n });
  t.ok(statistics.get(0)!.atNs > packets.at(-1)!.timeNs, 'nothing older comes behind the statistics');
  t.match(await b.metrics(), /grantline_capture_frames_total\{domain="guest1",component="guest"\} 500/);
  response.destroy();
  for (let i = 0; i < 3000 && probe.on; i++) await sleep(10);
  t.equal(probe.on, false);
});

t.test('nobody reads: the ring fills, frames are lost and counted, whoever offers them is not held', async (t) => {
  const b = await bed(t);
  const probe = b.captures.probe('guest', 'vif1.0');
  const response = await get(b.url, `${ALL}&buffer=8192`);
  for (let i = 0; i < 1000; i++) probe.frame(b.at, 1514, INBOUND, NOT_DROPPED);
  const parts: Buffer[] = [];
  response.on('data', (part: Buffer) => parts.push(part)).on('error', () => {});
  const dropped = (): bigint => {
    try {
      return readPackets(Buffer.concat(parts)).statistics.get(0)?.dropped ?? 0n;
    } catch {
      return 0n;
    }
  };
  for (let i = 0; i < 3000 && dropped() === 0n; i++) await sleep(10);
  const { packets, statistics } = readPackets(Buffer.concat(parts));
  t.equal(packets.length, 5);
  t.match(statistics.get(0), { received: 1000n, dropped: 995n });
  t.match(await b.metrics(), /grantline_capture_overflow_frames_total\{[^}]*\} 995/);
  response.destroy();
});

t.test('so many at a time, two of one hop among them; memory of ended ones serves again', async (t) => {
  const b = await bed(t);
  const probe = b.captures.probe('guest', 'vif1.0');
  for (let round = 0; round < 3; round++) {
    const open = await Promise.all(Array.from({ length: MAX_CAPTURES }, () => get(b.url, ALL)));
    t.same(
      open.map((r) => r.statusCode),
      [200, 200, 200, 200],
    );
    t.equal((await get(b.url, ALL)).statusCode, 503);
    probe.frame(b.at, 60, INBOUND, NOT_DROPPED);
    for (const r of open) r.on('error', () => {}).destroy();
    for (let i = 0; i < 3000 && probe.on; i++) await sleep(10);
    t.equal(probe.on, false);
  }
});
