import { readFileSync } from 'node:fs';
import { fastify } from 'fastify';
import t from 'tap';
import { AddressSpace, type Poller } from '@grantline/machine';
import { PAGE_SIZE } from '@grantline/base';
import type { ServiceHttp } from '@grantline/service';
import { addLoadApi } from '../../src/far-end/control/load-api.js';
import { Loads } from '../../src/far-end/control/loads.js';
import { Kit } from '../kit.js';

const SAMPLE = readFileSync(new URL('../../../../../load/captures/lan-http.pcap', import.meta.url));
const generate = {
  kind: 'generate',
  run: 'r1',
  seed: 7,
  guests: [{ domid: 1, mac: '02:00:00:00:00:01', ip: '10.0.0.1' }],
  frameBytes: 1514,
};

async function server() {
  const kit = new Kit();
  const space = new AddressSpace(320 << 20);
  space.reserve(PAGE_SIZE);
  const pollers: Poller[] = [];
  const loop = {
    add: (p: Poller) => void pollers.push(p),
    remove: (p: Poller) => void pollers.splice(pollers.indexOf(p), 1),
  };
  const loads = new Loads(space, kit.cable, loop);
  const http = fastify() as unknown as ServiceHttp;
  addLoadApi(http, loads);
  await http.ready();
  const post = async (body: object): Promise<{ status: number; body: Record<string, unknown> }> => {
    const r = await http.inject({ method: 'POST', url: '/load', payload: body });
    return { status: r.statusCode, body: r.json() };
  };
  const upload = async (bytes: Buffer, query = ''): Promise<{ status: number; body: Record<string, unknown> }> => {
    const headers = { 'content-type': 'application/octet-stream' };
    const r = await http.inject({ method: 'POST', url: `/load/capture${query}`, payload: bytes, headers });
    return { status: r.statusCode, body: r.json() };
  };
  return { http, loads, pollers, post, upload, space };
}

t.test('a load starts with defaults, is told by GET, and ends with DELETE', async (t) => {
  const { http, post, pollers, loads } = await server();
  t.match((await http.inject('/load')).json(), { state: 'idle', run: null });
  t.match(await post(generate), {
    status: 200,
    body: { state: 'running', kind: 'generate', run: 'r1', sentFrames: 0 },
  });
  t.equal(pollers.length, 1);
  t.match(await post(generate), { status: 409 });
  t.equal(loads.dueUs() < Infinity, true);
  t.match((await http.inject({ method: 'DELETE', url: '/load' })).json(), { state: 'idle' });
  t.equal(pollers.length, 0);
  t.equal(loads.dueUs(), Infinity);
  await http.close();
});

t.test('bad input is 400 with one line that says what and what is allowed', async (t) => {
  const { http, post } = await server();
  for (const [change, message] of [
    [{ frameBytes: 59 }, /frameBytes must be 60 to 9014/],
    [{ frameBytes: 'big' }, /frameBytes must be 60 to 9014/],
    [{ frameBytes: 60, protocol: 'tcp' }, /cannot be TCP/],
    [{ guests: [] }, /guests must list 1 to 32/],
    [{ guests: [generate.guests[0], generate.guests[0]] }, /two guests have the address/],
    [{ guests: [{ domid: 1, mac: 'x', ip: '10.0.0.1' }] }, /guests must list/],
    [{ guests: [{ domid: 1, mac: '02:00:00:00:00:01', ip: '10.0.0.256' }] }, /not an IPv4/],
    [{ linkGbps: 0 }, /linkGbps must be one of 1, 10, 25, 40, 100, or null/],
    [{ flowsPerGuest: 0 }, /flowsPerGuest/],
    [{ kind: 'replay' }, /no capture/],
    [{ kind: 'replay', pace: 0 }, /pace must be/],
    [{ kind: 'other' }, /kind must be/],
  ] as const)
    t.match(await post({ ...generate, ...change }), { status: 400, body: { message } }, JSON.stringify(change));
  t.match((await http.inject('/load')).json(), { state: 'idle' });
  await http.close();
});

t.test('a load that found no memory for what it holds back takes it when there is some again', async (t) => {
  const { http, loads, post, space } = await server();
  const mapPrivate = space.mapPrivate.bind(space);
  let calls = 0;
  space.mapPrivate = (bytes, populate) => {
    if (++calls === 2) throw new RangeError('no room');
    return mapPrivate(bytes, populate);
  };
  t.match(await post(generate), { status: 500 });
  t.match(await post(generate), { status: 200, body: { state: 'running' } });
  const { templatesAt, holdAt } = loads as unknown as { templatesAt: number; holdAt: number };
  t.ok(templatesAt >= 0 && holdAt >= 0 && templatesAt !== holdAt);
  await http.close();
});

t.test('a capture is loaded, its hosts are told, and its frames are padded and have their new addresses', async (t) => {
  const { http, upload, post, space, loads } = await server();
  const map = encodeURIComponent(JSON.stringify([{ from: '3a:fd:14:79:39:01', to: '02:00:00:00:00:01' }]));
  const answer = await upload(SAMPLE, `?map=${map}`);
  t.match(answer, { status: 200, body: { format: 'pcap', frames: 2738, cut: 0 } });
  t.equal((answer.body.destinations as unknown[]).length, 3);
  const { capture } = loads as unknown as { capture: { offsets: Int32Array; lengths: Uint32Array } };
  t.equal(capture.lengths[0], 60, 'the ARP request of 42 bytes is padded');
  t.ok(space.mem.u8.subarray(capture.offsets[0] + 42, capture.offsets[0] + 60).every((b) => b === 0));
  t.ok(capture.offsets.every((at) => at % 4 === 0));
  t.equal(
    Buffer.from(space.mem.u8.subarray(capture.offsets[1], capture.offsets[1] + 12))
      .toString('hex')
      .includes('020000000001'),
    true,
  );
  t.match(await post({ kind: 'replay', pace: 'max' }), {
    status: 200,
    body: { state: 'running', kind: 'replay', capture: { frames: 2738 } },
  });
  await http.close();
});

t.test('what is no capture is refused with the reason', async (t) => {
  const { http, upload } = await server();
  t.match(await upload(Buffer.from('hello world')), { status: 400, body: { message: /not a capture/ } });
  t.match(await upload(SAMPLE.subarray(0, 1000)), { status: 400, body: { message: /truncated.*at byte \d+/ } });
  t.match(await upload(SAMPLE, '?map=nonsense'), { status: 400, body: { message: /map is not JSON/ } });
  t.match(await upload(SAMPLE, `?map=${encodeURIComponent('[{"from":"x","to":"y"}]')}`), {
    status: 400,
    body: { message: /x' is not a MAC/ },
  });
  await http.close();
});
