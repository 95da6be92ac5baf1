/** What a listening socket spends on its clients: on those who have not said yet who they are a descriptor each, for a second at
 *  most, and no more than so many; on all others a bounded number of connections, and of answers for each. Every HTTP server of the
 *  project is held to it, but for the guests' application, which is held to more (services/guest/src/web). */
import { STATUS_CODES, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { Readable, type Duplex } from 'node:stream';
import { lookup } from 'node:dns/promises';
import type { Socket } from 'node:net';
import type { onSendHookHandler, RouteOptions } from 'fastify';

// Offers to go on in another protocol (RFC 9110, 7.8). One that a server does not take is ignored: the request is answered
// as if the offer were not there. Node gives every request with an Upgrade header to 'upgrade' listeners, where there are
// any, and never to the application.

/** What Node has on a socket of an HTTP server: the answer that is being written. */
type HttpSocket = Duplex & { _httpMessage?: ServerResponse | null };

/** The request asks for a WebSocket, and may (RFC 6455, 4.1). One with a body is none: releases of Node differ in who reads that. */
export function asksForWebSocket(request: IncomingMessage): boolean {
  if (request.method !== 'GET' || hasBody(request)) return false;
  return listed(request.headers.upgrade).includes('websocket');
}

interface Taker {
  wanted: (request: IncomingMessage) => boolean;
  take: (request: IncomingMessage, socket: Duplex, head: Buffer) => void;
}
/** One listener for each server, however many take: what none of them wants is handed back once. */
const takers = new WeakMap<Server, Taker[]>();

/** Hands upgrades to the handler that takes them; all other requests with an offer are ordinary ones.
 *  @param wanted which upgrades are taken; must not depend on anything but the request
 *  @param take answers them, also when it refuses */
export function takeUpgrades(server: Server, wanted: Taker['wanted'], take: Taker['take']): void {
  takersOf(server).push({ wanted, take });
}

function takersOf(server: Server): Taker[] {
  const known = takers.get(server);
  if (known !== undefined) return known;
  const list: Taker[] = [];
  takers.set(server, list);
  // Newer releases of Node ask, and some of them show the offer before the body has come: one with a body that nobody takes is then an ordinary
  // request at once. All others are handed back: where the answer is no, Node loses what came behind the request, so that here
  // the connection ends with the answer, and a client that sent more knows.
  const asking: Server & { shouldUpgradeCallback?: (request: IncomingMessage) => boolean } = server;
  asking.shouldUpgradeCallback = (request) => !hasBody(request) || list.some(({ wanted }) => wanted(request));
  server.prependListener('request', (request: IncomingMessage, response: ServerResponse) => {
    if (request.headers.upgrade !== undefined) response.shouldKeepAlive = false;
  });
  server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    const taker = list.find(({ wanted }) => wanted(request));
    if (taker === undefined) return handBack(server, request, socket, head);
    // Of several offers the one that is taken: ws knows no lists.
    if (asksForWebSocket(request)) request.headers.upgrade = 'websocket';
    taker.take(request, socket, head);
  });
  return list;
}

/** Puts the request back in front of what follows it, without its offer, and the connection before the server again, which
 *  parses both anew: the body, the limits of time and what is sent behind it are then those of any request. */
function handBack(server: Server, request: IncomingMessage, socket: HttpSocket, head: Buffer): void {
  if (socket.destroyed) return;
  const before = socket._httpMessage;
  if (before && !before.destroyed) {
    // Answers come in the order of requests: this one's turn is when the one before it is over. Until then nobody else
    // watches the socket.
    const onError = (): void => {};
    const onDrain = (): void => void before.emit('drain');
    const onTimeout = (): void => void socket.destroy();
    socket.on('error', onError).on('drain', onDrain).on('timeout', onTimeout);
    before.once('close', () => {
      socket.off('drain', onDrain).off('timeout', onTimeout);
      // The next of those that wait has been put on the socket by then.
      setImmediate(() => {
        socket.off('error', onError);
        handBack(server, request, socket, head);
      });
    });
    return;
  }
  // Node leaves these behind when it parts with a socket, and adds them anew.
  socket.removeAllListeners('pause').removeAllListeners('resume');
  if (head.length > 0) socket.unshift(head);
  socket.unshift(headOf(request));
  server.emit('connection', socket);
}

/** The head as it came, but for the offer. */
function headOf(request: IncomingMessage): Buffer {
  const { method, url, httpVersion, rawHeaders } = request;
  let text = `${method} ${url} HTTP/${httpVersion}\r\n`;
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i].toLowerCase();
    if (name === 'upgrade') continue;
    let value = rawHeaders[i + 1];
    if (name === 'connection') {
      value = value
        .split(',')
        .filter((option) => option.trim().toLowerCase() !== 'upgrade')
        .join(',')
        .trim();
      if (value === '') continue;
    }
    text += `${rawHeaders[i]}: ${value}\r\n`;
  }
  return Buffer.from(`${text}\r\n`, 'latin1');
}

const hasBody = ({ headers }: IncomingMessage): boolean =>
  headers['transfer-encoding'] !== undefined || !['0', undefined].includes(headers['content-length']);

const listed = (value: string | undefined): string[] => (value ?? '').split(',').map((s) => s.trim().toLowerCase());

/** fastify's HEAD routes read a stream to its end; they get an empty one instead. */
const dropBody: onSendHookHandler<unknown> = (_request, _reply, payload, done) => {
  if (!(payload instanceof Readable)) return done(null, payload);
  payload.destroy();
  done(null, Readable.from([]));
};

/** HEAD for every route of a server: the headers of GET, at once, and nothing is made for a body that is not sent. Hook for
 *  'onRoute', before routes are added. */
export function answerHeadAtOnce(route: RouteOptions): void {
  if (route.method === 'HEAD') route.onSend = [dropBody, ...[route.onSend ?? []].flat()];
}

/** A connection has so long for its first request, and a refused one to take its answer. */
export const HELLO_MS = 1000;
/** Connections that wait for a request; the one that has waited longest goes for the next that comes. */
export const WAITING_MAX = 128;
/** Connections of a server in all, WebSockets among them. */
export const CONNECTIONS_MAX = 512;
/** So many of them are kept free for those who come, at the cost of answers that their clients have not taken for so long. */
const ROOM = 8;
const ANSWER_MS = 10_000;
/** Requests of a connection that wait for their answers. Who sends more before it has one is no client of ours: each answer is made at
 *  once, and kept until those before it are read. */
export const PIPELINED_MAX = 16;
const HEADERS_MS = 5000;
const REQUEST_MS = 30_000;
/** A connection on which nothing moves, neither way. WebSockets are exempt: they are pinged, or live as long as a domain. */
const SILENT_MS = 120_000;

/** Offers of another protocol are ignored besides, unless somebody takes them (takeUpgrades): what is pipelined behind them is answered.
 *  @param server has its 'request' listeners already
 *  @param helloMs see HELLO_MS @param most see CONNECTIONS_MAX @param answerMs see ANSWER_MS */
export function limitListening(
  server: Server,
  { helloMs = HELLO_MS, most = CONNECTIONS_MAX, answerMs = ANSWER_MS } = {},
): void {
  server.maxConnections = most;
  server.headersTimeout = HEADERS_MS;
  server.requestTimeout = REQUEST_MS;
  server.setTimeout(SILENT_MS);
  /** Those that nobody answers just now, the longest waiting first. */
  const waiting = new Set<Duplex>();
  const answered = limitAnswers(server);
  // One that is turned away makes room for its next try.
  server.on('drop', () => answered.endOldest(answerMs));
  server.on('connection', (socket: Socket) => {
    // A request whose offer nobody takes is put before the server again (handBack): it is no newcomer's.
    if (spoken.has(socket)) return;
    for (const oldest of waiting) {
      if (waiting.size < WAITING_MAX) break;
      waiting.delete(oldest);
      oldest.destroy();
    }
    waiting.add(socket);
    server.getConnections((_error, held) => {
      if (held > most - ROOM) answered.endOldest(answerMs);
    });
    // What has come while this process was busy is read first: only then it is known that nothing came.
    const timer = setTimeout(
      () => setImmediate(() => waiting.has(socket) && !spoken.has(socket) && socket.destroy()),
      helloMs,
    );
    socket.once('close', () => {
      clearTimeout(timer);
      waiting.delete(socket);
    });
  });
  const spoken = new WeakSet<Duplex>();
  server.prependListener('request', (request, response) => {
    const { socket } = request;
    spoken.add(socket);
    waiting.delete(socket);
    response.once('close', () => {
      if (!socket.destroyed) waiting.add(socket);
    });
  });
  server.prependListener('upgrade', (_request, socket) => {
    spoken.add(socket);
    waiting.delete(socket);
  });
  takersOf(server);
}

/** The address that a name stands for. To "localhost" fastify binds servers of its own besides, which nobody has limited.
 *  @throws the system's error when it stands for none */
export const addressToBind = async (host: string): Promise<string> => (await lookup(host)).address;

/** Answers of a server that are under way. */
function limitAnswers(server: Server): { endOldest: (ms: number) => void } {
  const underWay = new Map<ServerResponse, number>();
  const ofSocket = new WeakMap<Duplex, number>();
  const listeners = server.listeners('request');
  server.removeAllListeners('request');
  server.on('request', (request: IncomingMessage, response: ServerResponse) => {
    const { socket } = request;
    const before = ofSocket.get(socket) ?? 0;
    if (before >= PIPELINED_MAX || socket.destroyed) return void socket.destroy();
    ofSocket.set(socket, before + 1);
    underWay.set(response, performance.now());
    response.once('close', () => {
      underWay.delete(response);
      ofSocket.set(socket, (ofSocket.get(socket) ?? 1) - 1);
    });
    for (const listener of listeners) listener.call(server, request, response);
  });
  return {
    endOldest: (ms) => {
      const before = performance.now() - ms;
      for (const [response, since] of underWay) {
        if (since > before) return;
        // An answer that has nothing to say yet is not its reader's fault.
        if (response.writableLength === 0) continue;
        response.destroy();
        return;
      }
    },
  };
}

/** Answers an upgrade that is not wanted, and lets go of the socket whatever the other end does: it may send on, and may
 *  neither read nor close.
 *  @param reason the body @param type of the body */
export function refuseUpgrade(
  socket: Duplex,
  status: number,
  reason: string,
  type = 'text/plain; charset=utf-8',
): void {
  const timer = setTimeout(() => socket.destroy(), HELLO_MS);
  socket.once('close', () => clearTimeout(timer));
  socket.on('error', () => socket.destroy());
  socket.once('finish', () => socket.destroy());
  // What is unread would keep the end of the other side from being seen.
  socket.resume();
  socket.end(
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\nconnection: close\r\ncontent-type: ${type}\r\n` +
      `content-length: ${Buffer.byteLength(reason)}\r\n\r\n${reason}`,
  );
}
