/** What a listening socket spends on those who have not said yet who they are: a descriptor each, for a second at most,
 *  and no more than so many. Every HTTP server of the project is held to it. */
import { STATUS_CODES, type Server } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';

/** A connection has so long for its first request, and a refused one to take its answer. */
export const HELLO_MS = 1000;
/** Connections that wait for a request; the one that has waited longest goes for the next that comes. */
export const WAITING_MAX = 128;
/** Connections of a server in all, WebSockets among them. */
export const CONNECTIONS_MAX = 512;
const HEADERS_MS = 5000;
const REQUEST_MS = 30_000;
/** A connection on which nothing moves, neither way. WebSockets are exempt: they are pinged, or live as long as a domain. */
const SILENT_MS = 120_000;

/** @param helloMs see HELLO_MS @param most see CONNECTIONS_MAX */
export function limitListening(server: Server, { helloMs = HELLO_MS, most = CONNECTIONS_MAX } = {}): void {
  server.maxConnections = most;
  server.headersTimeout = HEADERS_MS;
  server.requestTimeout = REQUEST_MS;
  server.setTimeout(SILENT_MS);
  /** Those that nobody answers just now, the longest waiting first. */
  const waiting = new Set<Duplex>();
  server.on('connection', (socket: Socket) => {
    // A request whose offer nobody takes is put before the server again (upgrade.ts): it is no newcomer's.
    if (spoken.has(socket)) return;
    for (const oldest of waiting) {
      if (waiting.size < WAITING_MAX) break;
      waiting.delete(oldest);
      oldest.destroy();
    }
    waiting.add(socket);
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
