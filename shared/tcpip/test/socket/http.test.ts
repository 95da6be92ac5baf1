import { createHash } from 'node:crypto';
import { once } from 'node:events';
import http from 'node:http';
import type { Socket } from 'node:net';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import fastify from 'fastify';
import t from 'tap';
import { WebSocket, WebSocketServer } from 'ws';
import { parseIp } from '@grantline/frames';
import type { NetStack } from '../../src/net-stack.js';
import { accept, NetSocket, type NetSocketOptions } from '../../src/socket/net-socket.js';
import { livePair, type LiveSide } from '../live.js';
import { pattern } from '../../testkit/peer.js';

/** Nothing is told before the next flush: by then the stream hears it. */
const unheard = (): void => {};
const DEAF = { onOpen: unheard, onReadable: unheard, onEnd: unheard, onWritable: unheard, onClose: unheard };

/** Opens a connection as a stream: 'connect', or 'error' with Node's codes. */
function connectStream(stack: NetStack, to: { host: string; port: number; localPort?: number } & NetSocketOptions) {
  const connection = stack.connect(parseIp(to.host), to.port, DEAF, to.localPort ?? 0)!;
  const socket = new NetSocket(connection, true, to);
  connection.setEvents(socket);
  return socket;
}

const HOST = '10.0.0.2';
const asSocket = (socket: NetSocket): Socket => socket as unknown as Socket;

class StackAgent extends http.Agent {
  constructor(side: LiveSide, options: http.AgentOptions) {
    super(options);
    Object.assign(this, {
      createConnection: () => connectStream(side.stack, { host: HOST, port: 80, allowHalfOpen: false }),
    });
  }
}

interface Answer {
  status: number;
  body: Buffer;
}

async function request(agent: http.Agent, path: string, body?: Uint8Array): Promise<Answer> {
  const req = http.request({ agent, host: HOST, path, method: body ? 'POST' : 'GET' });
  if (body) req.setHeader('content-type', 'application/octet-stream');
  req.end(body);
  const [res] = (await once(req, 'response')) as [http.IncomingMessage];
  const chunks: Buffer[] = [];
  for await (const chunk of res) chunks.push(chunk as Buffer);
  return { status: res.statusCode ?? 0, body: Buffer.concat(chunks) };
}

const hash = (bytes: Uint8Array): string => createHash('sha1').update(bytes).digest('hex');

t.test('an unmodified fastify server and http client talk through two stacks', async (t) => {
  const { a, b, stop } = livePair();
  const app = fastify({ bodyLimit: 8 << 20 });
  app.addContentTypeParser('application/octet-stream', { parseAs: 'buffer' }, (_req, body, done) => done(null, body));
  app.get('/json', (req) => ({ from: req.socket.remoteAddress, port: req.socket.remotePort }));
  app.get('/stream', (_req, reply) =>
    reply.send(
      Readable.from(
        (function* () {
          for (let i = 0; i < 50; i++) yield Buffer.from(`line ${i}\n`.repeat(100));
        })(),
      ),
    ),
  );
  app.post('/echo', (req, reply) => reply.send(req.body));
  await app.ready();
  b.stack.listen(80, (c) => accept(c, (socket) => app.server.emit('connection', socket)));
  const agent = new StackAgent(a, { keepAlive: true, maxSockets: 20 });

  const small = await Promise.all(Array.from({ length: 300 }, () => request(agent, '/json')));
  const parsed = small.map((x) => (JSON.parse(x.body.toString()) as { from: string }).from);
  t.same([...new Set(parsed)], ['10.0.0.1'], 'the server sees who asks');
  t.equal(a.stack.counts().tcpActiveOpens, 20, 'connections are kept alive and used again');
  t.equal((await request(agent, '/stream')).body.toString().length, 39_000, 'a chunked stream');
  for (const bytes of [0, 1, 1447, 1448, 1449, 65_535, 3_000_001]) {
    const sent = pattern(bytes, bytes + 1);
    const { body } = await request(agent, '/echo', sent);
    t.equal(hash(body), hash(sent), `a body of ${bytes} bytes up and down`);
  }
  t.equal((await request(agent, '/nothing')).status, 404);
  agent.destroy();
  await app.close();
  stop();
});

t.test('WebSocket frames pass both ways, and a close handshake ends the connection', async (t) => {
  const { a, b, stop } = livePair();
  const server = http.createServer();
  const wss = new WebSocketServer({ server });
  wss.on('connection', (ws) => ws.on('message', (data, binary) => ws.send(data as Buffer, { binary })));
  b.stack.listen(80, (c) => accept(c, (socket) => server.emit('connection', socket)));
  const ws = new WebSocket(`ws://${HOST}/`, {
    createConnection: () => asSocket(connectStream(a.stack, { host: HOST, port: 80 })),
  });
  await once(ws, 'open');
  for (const bytes of [1, 200_000]) {
    const sent = Buffer.from(pattern(bytes, 5));
    ws.send(sent);
    const [got] = (await once(ws, 'message')) as [Buffer];
    t.same(hash(got), hash(sent));
  }
  ws.close(1000);
  const [code] = (await once(ws, 'close')) as [number];
  t.equal(code, 1000);
  wss.close();
  stop();
});

t.test('errors have the codes of Node, and time-outs are told', async (t) => {
  const { a, b, stop } = livePair();
  const [refused] = (await once(connectStream(a.stack, { host: HOST, port: 81 }), 'error')) as [NodeJS.ErrnoException];
  t.match(refused, { code: 'ECONNREFUSED', errno: -111, syscall: 'connect', address: HOST, port: 81 });
  t.match(refused.message, 'connect ECONNREFUSED 10.0.0.2:81');
  const off = (await once(connectStream(a.stack, { host: '192.168.9.9', port: 81 }), 'error')) as [
    NodeJS.ErrnoException,
  ];
  t.equal(off[0].code, 'EHOSTUNREACH', 'no gateway');

  const accepted = new Promise<NetSocket>((resolve) => b.stack.listen(80, (c) => accept(c, resolve)));
  const client = connectStream(a.stack, { host: HOST, port: 80 });
  t.equal(client.readyState, 'opening');
  const server = await accepted;
  client.setTimeout(30);
  await once(client, 'timeout');
  t.same([client.readyState, client.remotePort, server.remoteAddress], ['open', 80, '10.0.0.1']);
  t.same(client.address(), { address: '10.0.0.1', family: 'IPv4', port: server.remotePort });
  client.write('x');
  const gone = once(client, 'error') as Promise<[NodeJS.ErrnoException]>;
  server.on('error', () => {}).resetAndDestroy();
  t.match((await gone)[0], { code: 'ECONNRESET', syscall: 'read' });
  stop();
});

t.test('half close: the peer may go on after our end; and a reader that stops closes the window', async (t) => {
  const { a, b, stop } = livePair({ receiveBuffer: 1 << 16, sendBuffer: 1 << 16 });
  const accepted = new Promise<NetSocket>((resolve) => b.stack.listen(80, (c) => accept(c, resolve)));
  const client = connectStream(a.stack, { host: HOST, port: 80, allowHalfOpen: true });
  client.end('question');
  const server = await accepted;
  const end = once(server, 'end');
  const [question] = (await once(server, 'data')) as [Buffer];
  t.equal(question.toString(), 'question');
  await end;
  const answer = pattern(2_000_000, 9);
  let written = 0;
  const writing = pipeline(
    Readable.from(
      (function* () {
        for (let at = 0; at < answer.length; at += 50_000) {
          written = at;
          yield answer.subarray(at, at + 50_000);
        }
      })(),
    ),
    server,
  );
  await new Promise((resolve) => setTimeout(resolve, 50));
  t.ok(written < 500_000, `the writer waits: ${written} bytes taken, nobody reads`);
  const chunks: Buffer[] = [];
  for await (const chunk of client) chunks.push(chunk as Buffer);
  await writing;
  t.equal(hash(Buffer.concat(chunks)), hash(answer));
  t.equal(client.bytesRead, answer.length);
  stop();
});

t.test(
  'while clients that read nothing hold the memory, an unmodified server answers others whole and exact',
  async (t) => {
    const { a, b, stop } = livePair({ memory: 4 << 20, receiveBuffer: 8192 });
    const big = pattern(1_000_000, 8);
    const app = fastify();
    app.get('/big', (_req, reply) => reply.send(Buffer.from(big)));
    await app.ready();
    b.stack.listen(80, (c) => accept(c, (socket) => app.server.emit('connection', socket)));
    const stalled = Array.from({ length: 60 }, () => {
      const socket = connectStream(a.stack, { host: HOST, port: 80 });
      socket.on('error', () => {});
      socket.write('GET /big HTTP/1.1\r\nHost: x\r\n\r\n');
      return socket;
    });
    const { arena } = b.stack.tcp.context.memory;
    const short = new Promise<void>((resolve) => {
      const timer = setInterval(() => {
        if (!arena.isLow) return;
        clearInterval(timer);
        resolve();
      }, 5);
    });
    await short;
    const agent = new StackAgent(a, { keepAlive: true, maxSockets: 3 });
    const all = await Promise.all(Array.from({ length: 6 }, () => request(agent, '/big')));
    t.same([...new Set(all.map((x) => hash(x.body)))], [hash(big)]);
    agent.destroy();
    for (const socket of stalled) socket.destroy();
    await app.close();
    stop();
  },
);
