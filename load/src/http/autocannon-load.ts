/** A load by autocannon. Its connections, requests and parser are used; the moment of sending, latencies and counts are
 *  ours: it has no schedule (a rate is sent in a burst at the start of each second), corrects for coordinated omission
 *  by a fixed millisecond, and ends in the middle of answers. */
import { crc32 } from 'node:zlib';
import autocannon from 'autocannon';
import type { Request, Client, Instance } from 'autocannon';
import { patternBody, patternStart, PATTERN_PERIOD, REQUEST_ID, type UploadBody } from '@grantline/measure';
import type { Scenario, Generated, LoadPlan, PhaseTold } from './plan.js';
import { phases, Tally, Turns, type Turn } from './tally.js';

/** Requests that differ, of each connection. */
const VARIANTS = 4;

export interface Expected {
  id: string;
  body: string;
}

/** One request, and what its answer must be. */
interface Question {
  request: Request;
  expected: Expected;
  /** Bytes of the body that goes one way or the other. */
  bytes: number;
}

/** What GET / of a server answers to an id. */
type RootOf = (id: string) => string;

type Asked = Exclude<Scenario, { kind: 'ws' }>;

/** Makes the requests of each connection, and what answers they must get: every answer is compared whole.
 *  @returns those of the connection of that number: its ids, and its bodies, are no other's */
function questionsOf(s: Asked): (connection: number, rootOf: RootOf) => Question[] {
  // Bodies are parts of it, which are not copied.
  const down = s.kind === 'bytes' || s.kind === 'chunked' ? patternBody(0, PATTERN_PERIOD + s.bytes) : Buffer.alloc(0);
  const text = down.toString('latin1');
  // A body that goes up stands in memory with its request.
  const variants = s.kind === 'upload' ? 1 : VARIANTS;
  return (connection, rootOf) =>
    Array.from({ length: variants }, (_, k) =>
      question(s, text, `c${connection}-${k}`, connection * VARIANTS + k, rootOf),
    );
}

function question(s: Asked, text: string, id: string, seed: number, rootOf: RootOf): Question {
  const headers = { [REQUEST_ID]: id };
  switch (s.kind) {
    case 'json': {
      const body = rootOf(id);
      return { request: { method: 'GET', path: '/', headers }, expected: { id, body }, bytes: body.length };
    }
    case 'bytes':
    case 'chunked': {
      const path =
        s.kind === 'chunked' ? `/stream/${s.bytes}?seed=${seed}&chunk=${s.chunk}` : `/bytes/${s.bytes}?seed=${seed}`;
      const start = patternStart(seed);
      const body = text.substring(start, start + s.bytes);
      return { request: { method: 'GET', path, headers }, expected: { id, body }, bytes: s.bytes };
    }
    case 'upload': {
      const body = patternBody(seed, s.bytes);
      const answer: UploadBody = { id, bytes: s.bytes, crc32: crc32(body).toString(16).padStart(8, '0') };
      const sent = { ...headers, 'content-type': 'application/octet-stream' };
      return {
        request: { method: 'POST', path: '/bytes', headers: sent, body },
        expected: { id, body: JSON.stringify(answer) },
        bytes: s.bytes,
      };
    }
  }
}

/** Seconds until a request counts as lost and its connection is made anew. */
const TIMEOUT_S = 10;
/** So many failures end a run: a server that is gone is tried for ever otherwise. */
const MAX_FAILURES = 1000;

/** What is used of autocannon's client (9.0.0) beyond its types. */
interface Inner {
  _doRequest(): void;
}

/** A connection: at most one request under way. */
class Line implements Turn {
  dueAt = 0;
  sentAt = 0;
  busy = false;
  /** Of the request under way. */
  question: Question;
  private nth = -1;
  private readonly questions: readonly Question[];
  private readonly start: () => void;

  constructor(questions: readonly Question[], start: () => void) {
    this.questions = questions;
    this.question = questions[0];
    this.start = start;
  }

  send(): void {
    this.busy = true;
    // As autocannon's own iterator: the first again on the first request, then one after another.
    this.nth = (this.nth + 1) % this.questions.length;
    this.question = this.questions[this.nth];
    this.start();
  }
}

/** Runs the plan in this process. @param tell told when the measured time starts and ends
 *  @throws Error when the server
 *  does not answer at all */
export async function loadByAutocannon(plan: LoadPlan, tell: (phase: PhaseTold) => void): Promise<Generated> {
  // autocannon gives connection i the i-th address, and begins again behind the last.
  const { urls } = plan;
  const roots = await Promise.all(urls.map(rootOf));
  const questions = questionsOf(plan.scenario as Asked);
  const tally = new Tally(plan.rate !== null);
  const turns = new Turns(plan.rate);
  const lines: Line[] = [];

  const setupClient = (client: Client): void => {
    const inner = client as unknown as Inner;
    if (typeof inner._doRequest !== 'function') throw new Error('this autocannon is not 9.0.0: its client differs');
    const start = inner._doRequest.bind(client);
    const own = questions(lines.length, roots[lines.length % roots.length]);
    const line = new Line(own, start);
    lines.push(line);
    // Called when it could send: connected, answered, or connected again after a failure.
    inner._doRequest = () => {
      if (line.busy) tally.errors.unanswered++;
      line.busy = false;
      turns.ready(line);
    };
    client.setRequests(
      own.map((question) => ({
        ...question.request,
        onResponse: (status, body, _context, headers) => {
          line.busy = false;
          const { expected, bytes } = question;
          if (status !== 200) tally.errors.status++;
          else if (question !== line.question || body !== expected.body || headers?.[REQUEST_ID] !== expected.id)
            tally.errors.wrong++;
          else tally.answer(line.dueAt, line.sentAt, bytes);
        },
      })),
    );
  };
  const instance = autocannon({
    // Its types know of one address only.
    url: [...urls] as unknown as string,
    connections: plan.connections,
    pipelining: 1,
    // Ended by `stop` below.
    duration: plan.warmup + plan.seconds + 60,
    sampleInt: 50,
    timeout: TIMEOUT_S,
    bailout: MAX_FAILURES,
    setupClient,
  }) as unknown as Instance & PromiseLike<unknown>;
  instance.on('reqError', (error: Error) => {
    if (error.message === 'request timed out') tally.errors.timeout++;
    else tally.errors.connection++;
  });
  const done = Promise.resolve(instance);
  await phases(plan, { tally, turns, lines }, tell, done);
  const result = tally.result(turns.sent, turns.late);
  instance.stop();
  await done;
  return result;
}

/** What the server answers to GET / with an id, made of one answer that it gave. */
async function rootOf(url: string): Promise<(id: string) => string> {
  const answer = await fetch(`${url}/`, {
    headers: { [REQUEST_ID]: 'FIRST' },
    signal: AbortSignal.timeout(TIMEOUT_S * 1000),
  });
  const text = await answer.text();
  if (!answer.ok || !text.includes('"FIRST"')) throw new Error(`${url}/ answers ${answer.status} ${text.slice(0, 80)}`);
  return (id) => text.replace('FIRST', id);
}
