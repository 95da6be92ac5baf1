/** The generator against the application on loopback, and against servers that lie. */
import http from 'node:http';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { loadByAutocannon } from '../../src/http/autocannon-load.js';
import { GeneratorProcess, Loopback } from '../../src/http/child.js';
import { type Generated, type LoadPlan, type Scenario, parseScenarios } from '../../src/http/plan.js';
import { Turns, type Turn } from '../../src/http/tally.js';
import { faultOf, notesOf } from '../../src/http/verdict.js';

t.setTimeout(60_000);

const planOf = (url: string, scenario: string, more: Partial<LoadPlan> = {}): LoadPlan => ({
  ...{ urls: [url], scenario: parseScenarios(scenario)[0], connections: 5, rate: null, warmup: 0.05, seconds: 0.3 },
  ...more,
});

t.test('every scenario counts what was sent and answered, and finds nothing wrong with a right server', async (t) => {
  const loopback = await Loopback.start(null);
  const generator = new GeneratorProcess();
  t.teardown(() => Promise.all([loopback.stop(), generator.stop()]));
  const runs: [string, Partial<LoadPlan>][] = [
    ['json', {}],
    ['json', { rate: 200 }],
    ['bytes:100K', {}],
    ['upload:100K', {}],
    ['chunked:100K/1K', {}],
    ['ws:64', {}],
    ['ws:64', { rate: 200 }],
  ];
  for (const [scenario, more] of runs) {
    const told: string[] = [];
    const plan = planOf(loopback.url, scenario, more);
    const r = await generator.run(plan, (phase) => told.push(phase));
    const name = `${scenario} ${plan.rate === null ? 'closed' : 'open'}`;
    t.same(told, ['begin', 'end'], name);
    t.ok(r.answered > 0 && r.total.sent >= r.answered, `${name}: ${r.answered}`);
    t.equal(r.total.answered, r.total.sent, `${name}: all that was sent was answered`);
    t.equal(faultOf(r), null, name);
    const l = r.latencyUs;
    // An open loop counts by what was due in the measured time: some of it was answered behind it.
    t.ok(
      l &&
        (plan.rate !== null || l.count === r.answered) &&
        l.p50 > 0 &&
        l.p50 <= l.p90 &&
        l.p99 <= l.p999 &&
        l.p999 <= l.max,
      name,
    );
    t.equal(r.serviceUs === null, plan.rate === null, 'both latencies in an open loop only');
    const { bytes = 0 } = plan.scenario as { bytes?: number };
    if (bytes > 0) t.equal(r.bodyBytes, r.answered * bytes, name);
    t.ok(r.generator.cpuShare > 0 && r.generator.cpuShare < 8, 'its own CPU time is told');
  }
  const before = await loopback.usage();
  const after = await loopback.usage();
  t.ok(after.atNs > before.atNs && after.cpuNs >= before.cpuNs);
});

/** A server of a few lines. */
async function server(t: Test, answer: http.RequestListener): Promise<string> {
  const s = http.createServer(answer);
  s.listen(0, '127.0.0.1');
  await once(s, 'listening');
  t.teardown(() => {
    s.closeAllConnections();
    s.close();
  });
  return `http://127.0.0.1:${(s.address() as AddressInfo).port}`;
}
const load = (plan: LoadPlan): Promise<Generated> => loadByAutocannon(plan, () => {});
const idOf = (req: http.IncomingMessage): string => String(req.headers['x-request-id']);
const small = (id: string): string => JSON.stringify({ service: 'grantline', name: 'x', id });

t.test('answers that belong to another request, that were changed, refused or never come are counted', async (t) => {
  let n = 0;
  let last = 'none';
  const lies: [string, keyof Generated['errors'], http.RequestListener][] = [
    [
      'the body of another request',
      'wrong',
      (req, res) => {
        const id = idOf(req);
        res.setHeader('x-request-id', id).end(small(n++ % 50 === 7 ? last : id));
        last = id;
      },
    ],
    [
      'the id of another request',
      'wrong',
      (req, res) => void res.setHeader('x-request-id', n++ % 50 === 7 ? 'c9-9' : idOf(req)).end(small(idOf(req))),
    ],
    [
      'a status that is none of success',
      'status',
      (req, res) => {
        if (n++ % 50 === 7) res.statusCode = 503;
        res.setHeader('x-request-id', idOf(req)).end(small(idOf(req)));
      },
    ],
    [
      'a connection that breaks',
      'unanswered',
      (req, res) => {
        if (n++ % 50 === 7) return void req.socket.destroy();
        res.setHeader('x-request-id', idOf(req)).end(small(idOf(req)));
      },
    ],
  ];
  for (const [name, key, listener] of lies) {
    n = 0;
    const r = await load(planOf(await server(t, listener), 'json', { seconds: 0.2 }));
    t.ok(r.errors[key] > 0, `${name}: ${JSON.stringify(r.errors)}`);
    t.ok(r.answered > 0, 'and the right ones count');
    t.not(faultOf(r), null);
  }
  const bytes = await server(t, (req, res) => {
    const wanted = /\/bytes\/(\d+)/.exec(req.url ?? '');
    if (!wanted) return void res.end(small(idOf(req)));
    res.setHeader('x-request-id', idOf(req)).end(Buffer.alloc(Number(wanted[1]), 'x'));
  });
  const r = await load(planOf(bytes, 'bytes:1K', { seconds: 0.1 }));
  t.ok(r.errors.wrong > 0 && r.answered === 0, 'a body of the right length with other bytes');
  await t.rejects(load(planOf('http://127.0.0.1:1', 'json')), /fetch failed/, 'nobody there');
});

t.test('a server that stalls shows in an open loop for as long as it stalls, and once in a closed one', async (t) => {
  let stallUntil = 0;
  const url = await server(t, (req, res) => {
    const wait = Math.max(0, stallUntil - performance.now());
    setTimeout(() => res.setHeader('x-request-id', idOf(req)).end(small(idOf(req))), wait);
  });
  const stalled = async (rate: number | null): Promise<Generated> => {
    const run = load(planOf(url, 'json', { rate, connections: 2, warmup: 0.2, seconds: 1 }));
    await sleep(500);
    stallUntil = performance.now() + 400;
    return run;
  };
  const open = await stalled(200);
  const { latencyUs: corrected, serviceUs: omitted } = open;
  t.equal(faultOf(open), null);
  // 400 of 1000 ms: four in ten requests of the schedule wait, half of them 200 ms or longer. By sending, two do.
  t.ok(corrected && omitted && corrected.p90 > 200_000, `corrected p90 ${corrected?.p90} us`);
  t.ok(omitted && omitted.p90 < 150_000, `as sent p90 ${omitted?.p90} us`);
});

t.test(
  'a stall that outlasts the measured time shows too: what was due and still waits counts as long as it has',
  async (t) => {
    let stallUntil = 0;
    const url = await server(t, (req, res) => {
      const wait = Math.max(0, stallUntil - performance.now());
      setTimeout(() => res.setHeader('x-request-id', idOf(req)).end(small(idOf(req))), wait);
    });
    const plan = planOf(url, 'json', { rate: 200, connections: 2, warmup: 0.1, seconds: 0.8 });
    const stall = (phase: string): void => {
      if (phase === 'begin') setTimeout(() => (stallUntil = performance.now() + 1000), 400);
    };
    const r = await loadByAutocannon(plan, stall);
    t.equal(faultOf(r), null);
    // Half of the schedule falls due while nothing is answered, and a quarter has waited for 200 ms when time is up.
    const l = r.latencyUs;
    t.ok(l && l.p90 > 200_000, `p90 ${l?.p90} us`);
    t.ok(r.waiting > 30, `${r.waiting} were due and not sent`);
    t.match(notesOf({ generated: r, rate: 200, serverShare: 0 }, 1).join(), /were due and still waited/);
  },
);

t.test('turns: at once in a closed loop; by the schedule, and counted from it, in an open one', async (t) => {
  const made = (): Turn & { sends: number } => ({ dueAt: 0, sentAt: 0, sends: 0, send() { this.sends++; } }); // prettier-ignore
  const closed = new Turns(null);
  const a = made();
  closed.ready(a);
  closed.ready(a);
  t.equal(a.sends, 2);
  closed.end();
  closed.ready(a);
  t.equal(a.sends, 2, 'nothing is sent after the end');

  const open = new Turns(100);
  t.teardown(() => open.end());
  const b = made();
  open.ready(b);
  const from = performance.now();
  await sleep(60);
  t.equal(b.sends, 1, 'a connection that is busy is not sent on');
  open.ready(b);
  t.equal(b.sends, 2, 'what waited goes at once');
  t.ok(b.sentAt - b.dueAt > 20, `and its waiting counts: ${b.sentAt - b.dueAt} ms`);
  t.ok(b.dueAt - from < 30);
  // The first may be: this process does not have the machine for itself.
  t.ok(open.late <= 1, 'which was no fault of the generator');
});

t.test('a generator that dies is one line, and nothing of it stays', async (t) => {
  const url = await server(t, (req, res) => void res.setHeader('x-request-id', idOf(req)).end(small(idOf(req))));
  const generator = new GeneratorProcess();
  const run = generator.run(planOf(url, 'json', { seconds: 30 }), () => generator.kill());
  await t.rejects(run, /^the generator ended \(SIGKILL\)/);
  const nobody = planOf('http://127.0.0.1:1', 'ws' satisfies Scenario['name']);
  await t.rejects(
    generator.run(nobody, () => {}),
    /^no load on http:\/\/127.0.0.1:1: /,
  );
});
