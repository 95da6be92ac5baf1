import { EventEmitter } from 'node:events';
import t from 'tap';
import type { WebSocket } from 'ws';
import { SAVED_NS, TimeShare } from '../../src/control/accounting.js';
import { DomainConnection } from '../../src/control/domain-connection.js';
import type { HypercallRunner } from '../../src/control/hypercall-runner.js';

const MS = 1e6;

t.test('H35: a guest has its part of half the time, and saves up no more than so much', (t) => {
  let now = 0;
  let guests = 1;
  const share = new TimeShare(
    () => now,
    () => guests,
  );
  const work = (ms: number): void => share.spend(() => void (now += ms * MS));
  now += 1e12;
  work(SAVED_NS / MS - 1);
  t.equal(share.waitMs, 0, 'what was saved can be spent at once');
  for (guests of [1, 4]) {
    let busy = 0;
    const start = now;
    while (now - start < 20e9) {
      const wait = share.waitMs;
      now += wait * MS;
      if (wait > 0) continue;
      work(1);
      busy += MS;
    }
    const part = busy / (now - start);
    t.ok(Math.abs(part - 0.5 / guests) < 0.02, `${guests} guests: ${part}`);
  }
  t.throws(
    () =>
      share.spend(() => {
        now += 10e9;
        throw new Error('work');
      }),
    { message: 'work' },
  );
  t.ok(share.waitMs > 1000, 'work that fails is paid for, too');
  t.end();
});

class FakeSocket extends EventEmitter {
  readonly OPEN = 1;
  readyState = 1;
  bufferedAmount = 0;
  paused = false;
  readonly sent: string[] = [];
  pause = (): void => void (this.paused = true);
  resume = (): void => void (this.paused = false);
  send = (text: string): void => void this.sent.push(text);
  close = (): void => void (this.readyState = 3);
  terminate = (): void => void (this.readyState = 3);
  ask(id: number): void {
    this.emit('message', Buffer.from(JSON.stringify({ id, op: 'x' })), false);
  }
}

t.test(
  'H35: while one guest floods, another is served after a bounded number of its requests; all are answered in the end',
  async (t) => {
    let now = 0;
    const order: string[] = [];
    const sockets = ['A', 'B'].map((name, i) => {
      const socket = new FakeSocket();
      const share = new TimeShare(
        () => now,
        () => 2,
      );
      const world = {
        request: () => {
          now += 10 * MS;
          order.push(name);
          return {};
        },
        garbage: () => t.fail('garbage'),
        tooSlow: () => t.fail('too slow'),
        closed: () => {},
      };
      new DomainConnection(socket as unknown as WebSocket, {
        domid: (i + 1) as never,
        runner: {} as HypercallRunner,
        share,
        ...world,
      });
      return socket;
    });
    const [a, b] = sockets;
    // Sixty requests in one piece, as a socket hands them over, then one of the other.
    for (let id = 0; id < 60; id++) a.ask(id);
    b.ask(0);
    const before = order.indexOf('B');
    t.ok(before <= 2 * (SAVED_NS / (10 * MS)), `after ${before} requests of the other`);
    t.equal(b.sent.length, 1);
    t.equal(a.paused, true, 'and is not read meanwhile');
    // Time goes on by itself only while somebody works: let it.
    const clock = setInterval(() => (now += 50 * MS), 1);
    while (a.sent.length < 60) await new Promise((r) => setTimeout(r, 5));
    while (a.paused) await new Promise((r) => setTimeout(r, 5));
    clearInterval(clock);
    t.same(
      a.sent.map((s) => (JSON.parse(s) as { id: number }).id),
      Array.from({ length: 60 }, (_, i) => i),
    );
    t.end();
  },
);

t.test('the driver domain and the nic are served without a limit', (t) => {
  const socket = new FakeSocket();
  let served = 0;
  const world = { request: () => ++served, garbage: () => {}, tooSlow: () => {}, closed: () => {} };
  new DomainConnection(socket as unknown as WebSocket, {
    domid: 1000 as never,
    runner: {} as HypercallRunner,
    ...world,
  });
  for (let id = 0; id < 1000; id++) socket.ask(id);
  t.equal(served, 1000);
  t.equal(socket.paused, false);
  t.end();
});
