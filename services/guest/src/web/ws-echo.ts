/** WebSocket echo at /ws: what comes, text or bytes, goes back. */
import type { IncomingMessage, Server } from 'node:http';
import type { Duplex } from 'node:stream';
import { WebSocketServer, type RawData, type WebSocket } from 'ws';
import { refuseUpgrade } from '@grantline/shared/service/listening.js';
import { MAX_MESSAGE_BYTES } from '@grantline/shared/web/web-api.js';

const NOT_HERE = JSON.stringify({ statusCode: 404, error: 'Not Found', message: 'WebSockets are at /ws' });
/** A peer that does not answer a ping until the next one is gone. */
const PING_MS = 30_000;
/** Answers that may wait for a peer that does not read; then it is not read either. */
const MAX_WAITING_BYTES = 4 << 20;

/** @returns ends all of its connections */
export function addEcho(server: Server): () => void {
  const echo = new WebSocketServer({ noServer: true, maxPayload: MAX_MESSAGE_BYTES, perMessageDeflate: false });
  const alive = new WeakSet<WebSocket>();
  server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    // What stands there need not be part of a URL.
    if (request.url?.split('?', 1)[0] !== '/ws')
      return refuseUpgrade(socket, 404, NOT_HERE, 'application/json; charset=utf-8');
    echo.handleUpgrade(request, socket, head, (ws) => {
      alive.add(ws);
      ws.on('pong', () => alive.add(ws));
      ws.on('error', () => ws.terminate());
      ws.on('message', (data, binary) => answer(ws, data, binary));
    });
  });
  const timer = setInterval(() => {
    for (const ws of echo.clients) {
      if (!alive.delete(ws)) ws.terminate();
      else ws.ping();
    }
  }, PING_MS).unref();
  return () => {
    clearInterval(timer);
    for (const ws of echo.clients) ws.terminate();
    echo.close();
  };
}

function answer(ws: WebSocket, data: RawData, binary: boolean): void {
  ws.send(data as Buffer, { binary }, () => {
    if (ws.isPaused && ws.bufferedAmount < MAX_WAITING_BYTES / 2) ws.resume();
  });
  if (ws.bufferedAmount > MAX_WAITING_BYTES) ws.pause();
}
