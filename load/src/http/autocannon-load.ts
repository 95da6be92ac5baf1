/** A load by autocannon. Its connections, requests and parser are used; the moment of sending, latencies and counts are
 *  ours: it has no schedule (a rate is sent in a burst at the start of each second), corrects for coordinated omission
 *  by a fixed millisecond, and ends in the middle of answers. */
import autocannon, { type Client, type Instance } from 'autocannon';
import { REQUEST_ID } from '@grantline/measure';
import type { Generated, LoadPlan, PhaseTold, Scenario } from './plan.js';
import { Questions, type Question } from './requests.js';
import { phases, Tally } from './tally.js';
import { Turns, type Turn } from './turns.js';

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
  const scenario = plan.scenario as Exclude<Scenario, { kind: 'ws' }>;
  // autocannon gives connection i the i-th address, and begins again behind the last.
  const { urls } = plan;
  const roots = await Promise.all(urls.map(rootOf));
  const questions = new Questions(scenario);
  const tally = new Tally(plan.rate !== null);
  const turns = new Turns(plan.rate);
  const lines: Line[] = [];

  const setupClient = (client: Client): void => {
    const inner = client as unknown as Inner;
    if (typeof inner._doRequest !== 'function') throw new Error('this autocannon is not 9.0.0: its client differs');
    const start = inner._doRequest.bind(client);
    const own = questions.of(lines.length, roots[lines.length % roots.length]);
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
  await phases(
    plan,
    tally,
    tell,
    done,
    () => lines.every((line) => !line.busy),
    () => {
      turns.end();
      tally.waited(turns.unsent(performance.now()));
    },
  );
  turns.end();
  for (const line of lines) if (line.busy) tally.errors.unanswered++;
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
