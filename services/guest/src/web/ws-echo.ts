/** WebSocket echo at /ws: what comes, text or bytes, goes back. */
import type { IncomingMessage } from 'node:http';
import { WebSocketServer, type RawData, type WebSocket } from 'ws';
import { asksForWebSocket, takeUpgrades } from '@grantline/base';
import { MAX_MESSAGE_BYTES } from '@grantline/measure';
import type { WebInstance } from './routes.js';
import type { Lane, WorkTurns } from './turns.js';

/** A peer that does not answer a ping until the next one is gone. */
const PING_MS = 30_000;
/** Answers that may wait for a peer that does not read; then it is not read either. */
const MAX_WAITING_BYTES = 4 << 20;
/** The same for messages that wait for their turn. */
const MAX_WAITING = 64;

const PATH = '/ws';

/** A WebSocket's path need not be part of a URL. */
const isEcho = (request: IncomingMessage): boolean =>
  asksForWebSocket(request) && request.url?.split('?', 1)[0] === PATH;

/** @returns ends all of its connections */
export function addEcho(app: WebInstance, turns: WorkTurns): () => void {
  const echo = new WebSocketServer({
    noServer: true,
    maxPayload: MAX_MESSAGE_BYTES,
    perMessageDeflate: false,
    autoPong: false,
  });
  const alive = new WeakSet<WebSocket>();
  takeUpgrades(app.server, isEcho, (request, socket, head) => {
    echo.handleUpgrade(request, socket, head, (ws) => {
      const lane = turns.lane();
      alive.add(ws);
      ws.on('pong', () => alive.add(ws));
      ws.on('error', () => ws.terminate());
      ws.on('close', () => lane.clear());
      ws.on('ping', (data) => inTurn(ws, lane, data.length, () => ws.pong(data, false, () => readOn(ws, lane))));
      ws.on('message', (data: RawData, binary) =>
        inTurn(ws, lane, (data as Buffer).length, () => ws.send(data as Buffer, { binary }, () => readOn(ws, lane))),
      );
    });
  });
  app.get(PATH, (_request, reply) =>
    reply
      .code(426)
      .headers({ connection: 'upgrade', upgrade: 'websocket' })
      .send({ statusCode: 426, error: 'Upgrade Required', message: `${PATH} is for WebSockets` }),
  );
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

/** Answers when there is a turn for it; the peer is read no further while too much waits. */
function inTurn(ws: WebSocket, lane: Lane, bytes: number, answer: () => void): void {
  lane.run(bytes, answer);
  if (lane.waiting > MAX_WAITING || ws.bufferedAmount > MAX_WAITING_BYTES) ws.pause();
}

function readOn(ws: WebSocket, lane: Lane): void {
  if (ws.isPaused && lane.waiting === 0 && ws.bufferedAmount < MAX_WAITING_BYTES / 2) ws.resume();
}
