/** A load of WebSocket messages: each comes back, and is compared with what was sent. */
import { WebSocket } from 'ws';
import { patternBody } from '@grantline/measure';
import type { Generated, LoadPlan, PhaseTold, Scenario } from './plan.js';
import { phases, Tally, Turns, type Turn } from './tally.js';

const OPEN_LIMIT_MS = 10_000;

/** A connection: one message under way. */
class Line implements Turn {
  dueAt = 0;
  sentAt = 0;
  busy = false;
  /** Repeats neither within a connection nor between two. */
  private nth = 0;
  private last: Buffer = Buffer.alloc(0);
  private readonly number: number;
  private readonly filling: Buffer;
  private readonly ws: WebSocket;

  constructor(ws: WebSocket, number: number, bytes: number) {
    this.ws = ws;
    this.number = number;
    this.filling = patternBody(number, bytes);
  }

  send(): void {
    this.busy = true;
    this.last = Buffer.from(this.filling);
    this.last.write(`${this.number}:${this.nth++}:`, 'latin1');
    this.ws.send(this.last);
  }

  is(message: Buffer): boolean {
    return this.last.equals(message);
  }
}

/** Runs the plan in this process. @param tell told when the measured time starts and ends
 *  @throws Error when not all connections can be made */
export async function loadByWebSocket(plan: LoadPlan, tell: (phase: PhaseTold) => void): Promise<Generated> {
  const { bytes } = plan.scenario as Extract<Scenario, { kind: 'ws' }>;
  const tally = new Tally(plan.rate !== null);
  const turns = new Turns(plan.rate);
  const all = await Promise.all(
    Array.from({ length: plan.connections }, (_, i) =>
      opened(`${plan.urls[i % plan.urls.length].replace(/^http/, 'ws')}/ws`),
    ),
  );
  let ending = false;
  const lines = all.map((ws, i) => {
    const line = new Line(ws, i, bytes);
    ws.on('error', () => {});
    ws.on('close', () => {
      if (ending) return;
      turns.gone(line);
      tally.errors.connection++;
      if (line.busy) tally.errors.unanswered++;
      line.busy = false;
    });
    ws.on('message', (data: Buffer) => {
      if (line.busy && line.is(data)) tally.answer(line.dueAt, line.sentAt, bytes);
      else tally.errors.wrong++;
      if (!line.busy) return;
      line.busy = false;
      turns.ready(line);
    });
    return line;
  });
  for (const line of lines) turns.ready(line);
  await phases(plan, { tally, turns, lines }, tell, new Promise(() => {}));
  ending = true;
  for (const ws of all) ws.terminate();
  return tally.result(turns.sent, turns.late);
}

function opened(url: string): Promise<WebSocket> {
  return new Promise((resolve, reject) => {
    const ws = new WebSocket(url, { perMessageDeflate: false, handshakeTimeout: OPEN_LIMIT_MS });
    ws.once('open', () => resolve(ws));
    ws.once('error', reject);
  });
}
