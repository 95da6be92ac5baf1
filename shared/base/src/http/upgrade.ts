/** Offers to go on in another protocol (RFC 9110, 7.8). One that a server does not take is ignored: the request is answered
 *  as if the offer were not there. Node gives every request with an Upgrade header to 'upgrade' listeners, where there are
 *  any, and never to the application. */
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';

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

/** Offers that nobody takes are ignored from now on, and what is pipelined behind them is answered. */
export function ignoreUpgrades(server: Server): void {
  takersOf(server);
}

function takersOf(server: Server): Taker[] {
  const there = takers.get(server);
  if (there !== undefined) return there;
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
