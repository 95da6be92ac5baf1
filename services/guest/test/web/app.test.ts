import { createHash } from 'node:crypto';
import { once } from 'node:events';
import http from 'node:http';
import net, { type AddressInfo } from 'node:net';
import { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { crc32 } from 'node:zlib';
import t, { type Test } from 'tap';
import { WebSocket } from 'ws';
import { PATTERN_CHUNK, patternBody, patternChunk, PATTERN_PERIOD } from '@grantline/measure';
import { makeWebApp, type WebAppOptions } from '../../src/web/app.js';
import { PatternStream } from '../../src/web/routes.js';
import { WorkTurns } from '../../src/web/turns.js';

/** Checks a body that comes in chunks. */
class PatternReader {
  /** Bytes seen. */
  bytes = 0;
  /** Offset of the first chunk that differs; -1: none. */
  wrongAt = -1;
  private readonly seed: number;

  constructor(seed: number) {
    this.seed = seed;
  }

  /** @returns false when these bytes, or some before, are not the body's */
  take(chunk: Uint8Array): boolean {
    for (let at = 0; at < chunk.length; at += PATTERN_CHUNK) {
      const piece = chunk.subarray(at, at + PATTERN_CHUNK);
      if (this.wrongAt < 0 && patternChunk(this.seed, this.bytes, piece.length).compare(piece) !== 0)
        this.wrongAt = this.bytes;
      this.bytes += piece.length;
    }
    return this.wrongAt < 0;
  }
}

/** The application behind sockets of a server that is not its own: as a guest's stack hands them over. */
async function served(t: Test, options: Partial<WebAppOptions> = {}) {
  const app = await makeWebApp({ name: 'guest7', ...options });
  const sockets = new Set<net.Socket>();
  const front = net.createServer((socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    app.server.emit('connection', socket);
  });
  front.listen(0, '127.0.0.1');
  await once(front, 'listening');
  const { port } = front.address() as AddressInfo;
  const agent = new http.Agent({ keepAlive: true });
  t.teardown(async () => {
    agent.destroy();
    await app.close();
    front.close();
  });
  return { app, port, agent, sockets };
}
type Served = Awaited<ReturnType<typeof served>>;

interface Answer {
  status: number;
  headers: http.IncomingHttpHeaders;
  body: Buffer;
}

async function ask(s: Served, path: string, options: http.RequestOptions = {}, body?: Buffer[]): Promise<Answer> {
  const req = http.request({ port: s.port, host: '127.0.0.1', agent: s.agent, path, ...options });
  for (const piece of body ?? []) req.write(piece);
  req.end();
  const [res] = (await once(req, 'response')) as [http.IncomingMessage];
  const chunks: Buffer[] = [];
  for await (const chunk of res) chunks.push(chunk as Buffer);
  return { status: res.statusCode ?? 0, headers: res.headers, body: Buffer.concat(chunks) };
}
const json = (a: Answer): Record<string, unknown> => JSON.parse(a.body.toString()) as Record<string, unknown>;

/** Bytes onto a connection; all that comes back until it ends. */
async function raw(s: Served, ...pieces: string[]): Promise<string> {
  const socket = net.connect(s.port, '127.0.0.1');
  let text = '';
  socket.on('data', (d) => (text += d.toString('latin1')));
  for (const piece of pieces) socket.write(piece);
  await once(socket, 'close');
  return text;
}

t.test('the small answer names who answers and repeats the id of its request, and of no other', async (t) => {
  let answers = 0;
  const s = await served(t, { onAnswer: (status) => (answers += status) });
  const plain = await ask(s, '/');
  t.equal(plain.body.toString(), '{"service":"grantline","name":"guest7","id":null}');
  t.equal(plain.headers['x-request-id'], undefined);
  const ids = Array.from({ length: 40 }, (_, i) => `c${i}`);
  const all = await Promise.all(ids.map((id) => ask(s, '/', { headers: { 'x-request-id': id } })));
  t.same(
    all.map((a) => [json(a)['id'], a.headers['x-request-id']]),
    ids.map((id) => [id, id]),
  );
  t.equal(answers, 41 * 200, 'each answer is told of, with its status');
  t.ok(s.agent.freeSockets, 'connections stay');
});

t.test('bodies of any size arrive whole and exact; a part of one is the same bytes', async (t) => {
  const s = await served(t);
  for (const n of [0, 1, PATTERN_PERIOD, 65_536, 262_144, 262_145, 3_000_001]) {
    const a = await ask(s, `/bytes/${n}?seed=${n + 5}`);
    t.equal(a.headers['content-length'], String(n));
    const reader = new PatternReader(n + 5);
    t.ok(reader.take(a.body) && reader.bytes === n, `${n} bytes`);
    const cut = Math.floor(n / 3);
    const part = await ask(s, `/bytes/${n - cut}?seed=${n + 5}&offset=${cut}`);
    t.ok(part.body.equals(a.body.subarray(cut)), `from byte ${cut}`);
  }
  const [one, two] = [patternBody(1, 1000), patternBody(2, 1000)];
  t.notOk(one.equals(two), 'seeds tell bodies apart');
  const swapped = Buffer.concat([patternBody(1, 1000), patternBody(1, 1000)]);
  t.notOk(new PatternReader(1).take(swapped), 'a piece that came twice shows');
  const head = await ask(s, '/bytes/5000000', { method: 'HEAD' });
  t.same([head.status, head.headers['content-length'], head.body.length], [200, '5000000', 0]);
});

t.test('a stream comes in chunks of the chosen size', async (t) => {
  const s = await served(t);
  const a = await ask(s, '/stream/100001?chunk=1000&seed=3');
  t.equal(a.headers['transfer-encoding'], 'chunked');
  t.equal(a.headers['content-length'], undefined);
  t.ok(a.body.equals(patternBody(3, 100_001)));
  const text = await raw(s, 'GET /stream/2500?chunk=1000 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n');
  const sizes = [...text.matchAll(/(?:^|\r\n)([0-9a-f]+)\r\n/g)].map((m) => parseInt(m[1], 16));
  // Newer releases of Node make one chunk of the pieces that are written in one turn.
  const cuts = sizes.map((_, i) => sizes.slice(0, i + 1).reduce((a, b) => a + b));
  t.same([cuts.at(-2), sizes.at(-1)], [2500, 0]);
  for (const cut of cuts) t.ok(cut % 1000 === 0 || cut === 2500, `a chunk ends with a piece: at ${cut}`);
});

t.test('a body up is answered with its length and checksums, with and without content-length', async (t) => {
  const s = await served(t);
  const body = patternBody(9, 2_000_003);
  const headers = { 'content-length': body.length, 'x-request-id': 'up', 'content-type': 'application/json' };
  const crc = crc32(body).toString(16).padStart(8, '0');
  const a = await ask(s, '/bytes', { method: 'POST', headers }, [body]);
  t.same(json(a), { id: 'up', bytes: body.length, crc32: crc }, 'whatever type it says it is');
  const pieces = [body.subarray(0, 7), body.subarray(7, 700_000), body.subarray(700_000)];
  const b = await ask(s, '/bytes?hash=sha256', { method: 'POST' }, pieces);
  const sha256 = createHash('sha256').update(body).digest('hex');
  t.same(json(b), { id: null, bytes: body.length, crc32: crc, sha256 });
  t.same(json(await ask(s, '/bytes', { method: 'POST' })), { id: null, bytes: 0, crc32: '00000000' });
});

t.test('a client that does not read holds the body up, and memory does not grow', async (t) => {
  const s = await served(t);
  const socket = net.connect(s.port, '127.0.0.1');
  socket.write('GET /bytes/1073741824 HTTP/1.1\r\nhost: x\r\n\r\n');
  await once(socket, 'readable');
  const [inside] = s.sockets;
  let before = -1;
  // Until the kernel's buffers are full.
  for (let now = inside.bytesWritten; now !== before; now = inside.bytesWritten) {
    before = now;
    await sleep(60);
  }
  t.ok(before < 64 << 20, `${before} bytes left for a client that reads nothing`);
  t.ok(inside.writableLength < 1 << 20, `${inside.writableLength} bytes wait in the process`);
  const gone = new Promise((done) => inside.once('close', done));
  socket.destroy();
  await gone;
  t.equal(s.sockets.size, 0, 'and its end ends the body');
});

t.test('what cannot be answered is told as JSON: unknown paths, wrong sizes, bodies too long, no HTTP', async (t) => {
  const s = await served(t, { maxBodyBytes: 1000 });
  const errors: [string, http.RequestOptions, number][] = [
    ['/nothing', {}, 404],
    ['/bytes/x', {}, 400],
    ['/bytes/-1', {}, 400],
    [`/bytes/${(1 << 30) + 1}`, {}, 400],
    ['/bytes/1?seed=-1', {}, 400],
    ['/bytes/1?chunk=3', {}, 400],
    ['/stream/10?chunk=0', {}, 400],
    ['/stream/10?chunk=99999999', {}, 400],
    ['/bytes', { method: 'PUT' }, 404],
  ];
  for (const [path, options, status] of errors) {
    const a = await ask(s, path, options);
    t.equal(a.status, status, path);
    t.equal(json(a)['statusCode'], status);
    t.match(a.headers['content-type'], /^application\/json/);
  }
  const long = patternBody(0, 1001);
  for (const headers of [{ 'content-length': '1001' }, {}]) {
    const a = await ask(s, '/bytes', { method: 'POST', headers }, [long]);
    t.same([a.status, json(a)['code'], a.headers.connection], [413, 'FST_ERR_CTP_BODY_TOO_LARGE', 'close']);
  }
  t.match(await raw(s, 'no http at all\r\n\r\n'), /^HTTP\/1.1 400 [^]*"statusCode":400|^HTTP\/1.1 400 /);
  t.match(await raw(s, `GET / HTTP/1.1\r\nhost: x\r\nx: ${'y'.repeat(20_000)}\r\n\r\n`), /^HTTP\/1.1 431 /);
  // A WebSocket elsewhere is not offered: as the same request without. Some of the paths are no part of a URL.
  for (const path of ['/x', '//', '//:80/ws', 'http://', '*']) {
    const rest = 'HTTP/1.1\r\nhost: x\r\nconnection: close';
    const plain = await raw(s, `GET ${path} ${rest}\r\n\r\n`);
    const offer = await raw(s, `GET ${path} ${rest}, upgrade\r\nupgrade: websocket\r\n\r\n`);
    t.equal(offer.replace(/date: .*/i, ''), plain.replace(/date: .*/i, ''), path);
    t.match(plain, /^HTTP\/1.1 [24]0/);
  }
  t.equal((await ask(s, '/')).status, 200, 'and it goes on');
});

t.test('a request that never becomes whole, and an idle connection, are ended', async (t) => {
  const s = await served(t, { limits: { headers: 50, request: 100, look: 20, keepAlive: 100, silence: 5000 } });
  t.match(await raw(s, 'GET / HTTP/1.1\r\nhos'), /^HTTP\/1.1 408 /, 'headers');
  t.match(await raw(s, 'POST /bytes HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nab'), /408|^$/, 'body');
  t.match(await raw(s, 'GET / HTTP/1.1\r\nhost: x\r\n\r\n'), /^HTTP\/1.1 200 /, 'keep-alive comes to its end');
});

t.test('a WebSocket gets back what it sends; close() ends those that are open', async (t) => {
  const s = await served(t);
  const ws = new WebSocket(`ws://127.0.0.1:${s.port}/ws`);
  await once(ws, 'open');
  const big = patternBody(1, 300_000);
  const back: [Buffer, boolean][] = [];
  ws.on('message', (data: Buffer, binary) => back.push([data, binary]));
  for (let i = 0; i < 100; i++) ws.send(`message ${i}`);
  ws.send(big);
  while (back.length < 101) await once(ws, 'message');
  t.same(
    back.slice(0, 100).map(([d, binary]) => `${d.toString()} ${binary}`),
    Array.from({ length: 100 }, (_, i) => `message ${i} false`),
  );
  t.ok(back[100][0].equals(big) && back[100][1]);
  const tooLong = new WebSocket(`ws://127.0.0.1:${s.port}/ws`);
  await once(tooLong, 'open');
  tooLong.send(Buffer.alloc((1 << 20) + 1));
  t.equal((await once(tooLong, 'close'))[0], 1009, 'a message too long ends its connection');
  const download = net.connect(s.port, '127.0.0.1');
  download.write('GET /bytes/1073741824 HTTP/1.1\r\nhost: x\r\n\r\n');
  download.on('error', () => {});
  await once(download, 'readable');
  const ends = Promise.all([once(ws, 'close'), once(download.resume(), 'close')]);
  await s.app.close();
  await ends;
  t.equal(s.sockets.size, 0);
});

/** Counts pieces of bodies, and the most between two turns of the event loop. */
function countPieces(t: Test): { total: number; most: number } {
  const seen = { total: 0, most: 0 };
  let turn = 0;
  const counted = t.capture(PatternStream.prototype, 'push', function (this: PatternStream, piece: Buffer | null) {
    seen.total++;
    seen.most = Math.max(seen.most, ++turn);
    return Readable.prototype.push.call(this, piece);
  });
  const timer = setInterval(() => {}, 1);
  let on = true;
  const each = (): void => {
    turn = 0;
    if (on) setImmediate(each);
  };
  each();
  t.teardown(() => {
    on = false;
    clearInterval(timer);
    counted.restore();
  });
  return seen;
}

t.test('HEAD has the headers of GET at once, on every route, and nothing is made for it', async (t) => {
  const pieces = countPieces(t);
  const s = await served(t);
  const heads = ['/', '/bytes/10', '/bytes/1073741824', '/stream/1073741824?chunk=1', '/ws', '/nothing', '/bytes/x'];
  for (const path of heads) {
    const head = await ask(s, path, { method: 'HEAD' });
    t.equal(head.body.length, 0, path);
    if (/\d{9}/.test(path)) t.equal(head.status, 200, path);
  }
  t.equal((await ask(s, '/bytes/1073741824', { method: 'HEAD' })).headers['content-length'], '1073741824');
  t.equal(
    (await ask(s, '/stream/1073741824?chunk=1', { method: 'HEAD' })).headers['content-length'],
    undefined,
    'as GET: its length is not told',
  );
  t.equal(pieces.total, 0, 'no piece of a body was made');
  t.equal(s.sockets.size, 1, 'the connection stays');
});

t.test('a body in pieces of one byte takes no more than its share of a turn, however fast it is read', async (t) => {
  const pieces = countPieces(t);
  const s = await served(t);
  const bodies = await Promise.all([1, 2, 3].map((seed) => ask(s, `/stream/4000?chunk=1&seed=${seed}`)));
  for (const [i, { body }] of bodies.entries()) t.ok(body.equals(patternBody(i + 1, 4000)));
  t.ok(pieces.total > 12_000 && pieces.most <= 520, `${pieces.most} pieces in a turn, of ${pieces.total}`);
  t.ok(s.app.turns.full > 10);
});

t.test('whoever runs the event loop can ask whether work waits for its next turn', async (t) => {
  const turns = new WorkTurns();
  const lanes = [turns.lane(), turns.lane()];
  let done = 0;
  for (const lane of lanes) lane.run(1 << 20, () => done++);
  t.same([done, turns.waiting], [1, true], 'the second is over what a turn does');
  while (turns.waiting) await new Promise(setImmediate);
  t.equal(done, 2);
});

t.test('thousands of requests in one segment are answered in order, some in each turn', async (t) => {
  const s = await served(t);
  const count = 1500;
  let text = '';
  for (let i = 0; i < count; i++) text += `GET / HTTP/1.1\r\nhost: x\r\nx-request-id: r${i}\r\n\r\n`;
  const socket = net.connect(s.port, '127.0.0.1');
  const answers: string[] = [];
  let rest = '';
  socket.on('data', (d) => {
    rest += d.toString('latin1');
    for (const m of rest.matchAll(/"id":"(r\d+)"/g)) answers.push(m[1]);
    rest = rest.slice(Math.max(0, rest.lastIndexOf('}') + 1));
  });
  socket.write(text);
  while (answers.length < count) await sleep(2);
  t.same(
    answers,
    Array.from({ length: count }, (_, i) => `r${i}`),
  );
  t.ok(s.app.turns.full >= 10, `${s.app.turns.full} turns had more than enough`);
  socket.write('GET /bytes/3 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n');
  await once(socket, 'close');
});

t.test('a flood of small messages and pings on a WebSocket is answered in turns, in order', async (t) => {
  const s = await served(t);
  const ws = new WebSocket(`ws://127.0.0.1:${s.port}/ws`);
  await once(ws, 'open');
  const count = 2000;
  const back: string[] = [];
  let pongs = 0;
  ws.on('message', (data: Buffer) => back.push(data.toString()));
  ws.on('pong', () => pongs++);
  for (let i = 0; i < count; i++) {
    ws.send(`${i}`);
    if (i % 5 === 0) ws.ping();
  }
  while (back.length < count || pongs < count / 5) await sleep(2);
  t.same(
    back,
    Array.from({ length: count }, (_, i) => `${i}`),
  );
  t.ok(s.app.turns.full >= 6, `${s.app.turns.full} turns had more than enough`);
  ws.terminate();
});

t.test('of several protocols that are offered a WebSocket is taken, wherever it stands in the list', async (t) => {
  const s = await served(t);
  const key = { 'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==', 'sec-websocket-version': '13' };
  for (const upgrade of ['h2c, websocket', 'websocket, h2c', 'WebSocket']) {
    const headers = { connection: 'upgrade', upgrade, ...key };
    const asked = http.request({ port: s.port, path: '/ws', headers }).end();
    const got = await Promise.race([once(asked, 'upgrade'), once(asked, 'response')]);
    const { statusCode } = got[0] as http.IncomingMessage;
    t.equal(statusCode, 101, upgrade);
    asked.destroy();
  }
});

t.test(
  'an offer of a protocol that is not understood is ignored: answered as without it, the connection stays (with a body: or ends, and says so)',
  async (t) => {
    const s = await served(t);
    const h2c = { connection: 'Upgrade, HTTP2-Settings', upgrade: 'h2c', 'http2-settings': 'AAMAAABkAAQAoAAAAAIAAAAA' };
    const body = patternBody(4, 300_000);
    for (let i = 0; i < 3; i++) {
      const get = await ask(s, '/bytes/10', { headers: h2c });
      t.same([get.status, get.body.length, get.headers.connection], [200, 10, 'keep-alive']);
      for (const upgrade of ['TLS/1.0', 'websocket', 'h2c, websocket', 'ÿ'])
        t.equal((await ask(s, '/', { headers: { connection: 'upgrade', upgrade } })).status, 200, upgrade);
      const empty = await ask(s, '/ws', { headers: h2c });
      t.same([empty.status, empty.headers.upgrade], [426, 'websocket']);
      const head = await ask(s, '/stream/1073741824?chunk=1', { method: 'HEAD', headers: h2c });
      t.same([head.status, head.body.length], [200, 0]);
    }
    t.equal(s.sockets.size, 1, 'all on one connection');
    const [socket] = s.sockets;
    const listeners = (): number =>
      socket.eventNames().reduce((sum, name) => sum + socket.listenerCount(name as string), 0);
    const before = listeners();
    for (let i = 0; i < 20; i++) await ask(s, '/', { headers: h2c });
    t.equal(listeners(), before, 'and nothing stays behind for each');
    for (let i = 0; i < 3; i++) {
      const post = await ask(s, '/bytes', { method: 'POST', headers: { ...h2c, 'content-length': body.length } }, [
        body,
      ]);
      t.same([post.status, json(post)['bytes']], [200, body.length]);
      const chunked = await ask(s, '/bytes', { method: 'POST', headers: h2c }, [body, body]);
      t.same([chunked.status, json(chunked)['bytes']], [200, 2 * body.length]);
    }
    // In the midst of others, and behind an answer that takes long.
    const offer = 'GET /bytes/5?seed=SEED HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n';
    const plain = 'GET /bytes/2000000?seed=9 HTTP/1.1\r\nhost: x\r\n\r\n';
    const last = 'GET /bytes/7?seed=3 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n';
    const text = await raw(s, plain + offer.replace('SEED', '1') + offer.replace('SEED', '2') + plain + last);
    t.same(
      text.match(/content-length: \d+/g),
      [2_000_000, 5, 5, 2_000_000, 7].map((n) => `content-length: ${n}`),
      'answers in the order of requests',
    );
    t.ok(text.endsWith(patternBody(3, 7).toString('latin1')));
  },
);

t.test('an offer that is ignored does not lift the limits: headers, bodies, silence', async (t) => {
  const s = await served(t, { limits: { headers: 50, request: 100, look: 20, keepAlive: 100, silence: 5000 } });
  const offer = 'connection: upgrade\r\nupgrade: h2c\r\n';
  t.match(await raw(s, `POST /bytes HTTP/1.1\r\nhost: x\r\n${offer}content-length: 10\r\n\r\nab`), /408|^$/, 'body');
  t.match(await raw(s, `GET / HTTP/1.1\r\nhost: x\r\n${offer}\r\n`), /^HTTP\/1.1 200 /, 'keep-alive ends');
});
