import { readdirSync } from 'node:fs';
import { createServer, type RequestListener, type Server } from 'node:http';
import { connect, type AddressInfo, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import {
  HELLO_MS,
  PIPELINED_MAX,
  WAITING_MAX,
  limitListening,
  refuseUpgrade,
  takeUpgrades,
} from '../../src/http/listening.js';

const UPGRADE =
  'GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n' +
  'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n';

async function listening(
  t: Test,
  limits: Parameters<typeof limitListening>[1] = {},
  answer: RequestListener = (_request, response) => response.end('here'),
): Promise<{ server: Server; open: () => Socket; held: () => Promise<number> }> {
  const server = createServer(answer);
  limitListening(server, limits);
  takeUpgrades(
    server,
    () => true,
    (_request, socket) => refuseUpgrade(socket, 404, 'not here'),
  );
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const { port } = server.address() as AddressInfo;
  const sockets: Socket[] = [];
  t.teardown(() => {
    for (const s of sockets) s.destroy();
    server.closeAllConnections();
    server.close();
  });
  return {
    server,
    open: () => {
      const s = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
      s.on('error', () => {});
      sockets.push(s);
      return s;
    },
    held: () => new Promise((done, fail) => server.getConnections((e, n) => (e === null ? done(n) : fail(e)))),
  };
}

/** Waits until it is so, for ten times as long as it may take. */
async function soon(so: () => Promise<boolean> | boolean): Promise<boolean> {
  for (let i = 0; i < 100; i++) {
    if (await so()) return true;
    await sleep(HELLO_MS / 10);
  }
  return false;
}

const descriptors = (): number => readdirSync('/proc/self/fd').length;

t.test('H35: refused upgrades cost no descriptor, also with a byte that nobody reads', async (t) => {
  const { open, held } = await listening(t);
  const before = descriptors();
  for (let round = 0; round < 40; round++) {
    await Promise.all(
      Array.from({ length: 50 }, async () => {
        const s = open();
        s.write(UPGRADE);
        await new Promise((done) => s.once('data', done).once('close', done));
        s.write('x');
        s.destroy();
      }),
    );
  }
  t.ok(await soon(async () => (await held()) === 0));
  t.ok(await soon(() => descriptors() <= before));
});

t.test('H35: a refused peer that neither reads nor closes is let go of', async (t) => {
  const { open, held } = await listening(t);
  for (let i = 0; i < 20; i++)
    open()
      .pause()
      .write(`${UPGRADE}${'x'.repeat(100_000)}`);
  t.ok(await soon(async () => (await held()) === 0));
});

t.test('H35: a connection that says nothing, or begins and does not go on, is let go of', async (t) => {
  const { server, open, held } = await listening(t);
  let came = 0;
  server.on('connection', () => came++);
  for (let i = 0; i < 20; i++) open();
  for (let i = 0; i < 20; i++) open().write('GET / HTTP/1.1\r\nHost:');
  t.ok(await soon(() => came === 40));
  t.ok(await soon(async () => (await held()) === 0));
});

t.test('H35: however many wait, who comes with a request is answered', async (t) => {
  const { server, open, held } = await listening(t);
  let came = 0;
  server.on('connection', () => came++);
  for (let i = 0; i < 2 * WAITING_MAX; i++) open().write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
  t.ok(await soon(() => came === 2 * WAITING_MAX));
  const last = open();
  last.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
  const said = await new Promise<string>((done) => last.once('data', (d) => done(d.toString())));
  t.match(said, /^HTTP\/1.1 200 /);
  t.ok(await soon(async () => (await held()) <= WAITING_MAX + 1));
});

const GET = 'GET / HTTP/1.1\r\nHost: x\r\n\r\n';

t.test('H35: readers that take nothing of their answers make room for those who come', async (t) => {
  const big = Buffer.alloc(16 << 20);
  const { open, held } = await listening(t, { most: 20, answerMs: 50 }, (request, response) =>
    response.end(request.url === '/big' ? big : 'here'),
  );
  for (let i = 0; i < 40; i++) open().pause().write('GET /big HTTP/1.1\r\nHost: x\r\n\r\n');
  t.ok(await soon(async () => (await held()) > 10));
  await sleep(100);
  const answers = async (): Promise<boolean> => {
    const s = open();
    s.write(GET);
    const said = await new Promise<string>((done) =>
      s
        .once('data', (d) => done(d.toString()))
        .once('end', () => done(''))
        .once('close', () => done('')),
    );
    s.destroy();
    return said.startsWith('HTTP/1.1 200 ');
  };
  t.ok(await soon(answers), 'somebody who reads is answered');
  t.ok((await held()) <= 20);
});

t.test(
  'H35: who sends requests without waiting for answers has a few under way, and is let go of beyond them',
  async (t) => {
    let asked = 0;
    const { open, held } = await listening(t, {}, (_request, response) => {
      asked++;
      setTimeout(() => response.end('here'), 50);
    });
    const many = open();
    many.write(GET.repeat(1000));
    t.ok(await soon(async () => asked > 0 && (await held()) === 0));
    t.ok(asked <= PIPELINED_MAX, `${asked} were looked at`);
    asked = 0;
    const few = open();
    let said = '';
    few.on('data', (d) => (said += d.toString()));
    few.write(GET.repeat(PIPELINED_MAX));
    t.ok(await soon(() => said.split('HTTP/1.1 200').length === PIPELINED_MAX + 1), 'as many as may be are answered');
    few.write(GET.repeat(PIPELINED_MAX));
    t.ok(await soon(() => said.split('HTTP/1.1 200').length === 2 * PIPELINED_MAX + 1), 'and then again');
  },
);

t.test(
  'an offer that nobody takes is ignored where nobody takes any, and what is pipelined behind it is answered',
  async (t) => {
    const server = createServer((request, response) => response.end(`<${request.url}>`));
    limitListening(server);
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
    const s = connect((server.address() as AddressInfo).port, '127.0.0.1');
    t.teardown(() => {
      s.destroy();
      server.close();
    });
    let said = '';
    s.on('data', (d) => (said += d.toString()));
    const get = (path: string, more = ''): string => `GET ${path} HTTP/1.1\r\nHost: x\r\n${more}\r\n`;
    const offer = 'Connection: Upgrade\r\nUpgrade: h2c\r\n';
    s.write(get('/1') + get('/2', offer) + get('/3') + get('/4', offer) + get('/5'));
    t.ok(await soon(() => said.includes('</5>')));
    t.same(said.match(/<.\d>/g), ['</1>', '</2>', '</3>', '</4>', '</5>']);
  },
);
