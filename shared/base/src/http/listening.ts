/** What a listening socket spends on its clients: on those who have not said yet who they are a descriptor each, for a second at
 *  most, and no more than so many; on all others a bounded number of connections, and of answers for each. Every HTTP server of the
 *  project is held to it, but for the guests' application, which is held to more (services/guest/src/web). */
import { lookup } from 'node:dns/promises';
import { STATUS_CODES, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { ignoreUpgrades } from './upgrade.js';

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

/** Offers of another protocol are ignored besides, unless somebody takes them (upgrade.ts).
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
    // A request whose offer nobody takes is put before the server again (upgrade.ts): it is no newcomer's.
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
  ignoreUpgrades(server);
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
