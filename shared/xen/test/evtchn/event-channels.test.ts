/** Two domains in one process: two address spaces over the same page, two doorbells, and a hypervisor in between. */
import t, { type Test } from 'tap';
import { PAGE_SIZE, type DomId, type Port } from '@grantline/base';
import { EventChannels, type EvtchnTransport } from '../../src/evtchn/event-channels.js';
import { EventSide } from '../../src/evtchn/event-side.js';
import { AddressSpace, Doorbell, makeMemory } from '@grantline/machine';
import { Bell, anew, refuse, until } from '@grantline/machine/testkit';

const A = 1 as DomId;
const B = 1000 as DomId;

/** Gives out ports and descriptors and tells the other end, as the hypervisor does. */
class World {
  page: number | null = makeMemory('test', PAGE_SIZE);
  readonly bells = new Map<DomId, Bell>([A, B].map((d) => [d, new Bell()]));
  /** Delivers them later than other answers. */
  slow: Promise<void> = Promise.resolve();
  readonly closed: number[] = [];
  private readonly handlers = new Map<DomId, Map<string, (args: unknown) => void>>();
  private next: Record<number, number> = { [A]: 1, [B]: 40 };
  /** Given out again, once. */
  reuse: number | null = null;

  transport(domid: DomId): EvtchnTransport {
    const handlers = new Map<string, (args: unknown) => void>();
    this.handlers.set(domid, handlers);
    const request = (op: string, args: Record<string, number>): Promise<unknown> => {
      if (op === 'evtchn.close') {
        this.closed.push(args.port);
        return Promise.resolve({});
      }
      const remote = args.remote as DomId;
      const port = this.reuse ?? this.next[domid]++;
      this.reuse = null;
      if (op === 'evtchn.bindInterdomain')
        this.emit(remote, 'evtchn.bound', { port: args.remotePort, remotePort: port });
      return Promise.resolve({ port });
    };
    return {
      domid,
      descriptor: async (of, of_) => {
        await this.slow;
        const fd = of === 'page' ? this.page : (this.bells.get(of_!)?.rings ?? null);
        if (fd === null) throw refuse('ESRCH');
        return of === 'page' ? anew(fd) : fd;
      },
      request: request as EvtchnTransport['request'],
      onEvent: (name, fn) => void handlers.set(name, fn as (args: unknown) => void),
    };
  }

  emit(domid: DomId, event: string, args: object): void {
    this.handlers.get(domid)!.get(event)!(args);
  }
}

interface Bed {
  world: World;
  a: EventChannels;
  b: EventChannels;
  spaceA: AddressSpace;
  bellA: Doorbell;
  bellB: Doorbell;
}

function bed(t: Test): Bed {
  const world = new World();
  const [spaceA, spaceB] = [new AddressSpace(1 << 20), new AddressSpace(1 << 20)];
  const bellA = new Doorbell(world.bells.get(A)!.hears);
  const bellB = new Doorbell(world.bells.get(B)!.hears);
  const a = new EventChannels(world.transport(A), spaceA);
  const b = new EventChannels(world.transport(B), spaceB);
  t.teardown(() => {
    a.close();
    b.close();
    bellA.close();
    bellB.close();
  });
  return { world, a, b, spaceA, bellA, bellB };
}

t.test('sends before anybody is bound are dropped and counted; the bind kicks once', async (t) => {
  const { a, b, bellB } = bed(t);
  const ca = await a.allocUnbound(B);
  t.equal(ca.notify(), false);
  t.equal(ca.dropped, 1);
  t.notOk(bellB.wait(0));
  const cb = await b.bindInterdomain(A, ca.port);
  t.ok(ca.bound && cb.bound);
  t.ok(bellB.wait(0), 'kicked');
  let events = 0;
  cb.onEvent(() => events++);
  t.equal(b.dispatch(), 1);
  t.equal(events, 1);
});

async function pair(t: Test) {
  const w = bed(t);
  const ca = await w.a.allocUnbound(B);
  const cb = await w.b.bindInterdomain(A, ca.port);
  w.b.dispatch();
  w.bellB.wait(0);
  return { ...w, ca, cb };
}

t.test('events coalesce: one ring and one handler call until it is taken', async (t) => {
  const { a, ca, cb, bellA } = await pair(t);
  let events = 0;
  ca.onEvent(() => events++);
  t.same([cb.notify(), cb.notify(), cb.notify()], [true, false, false]);
  t.ok(bellA.wait(0));
  t.notOk(bellA.wait(0));
  t.equal(a.dispatch(), 1);
  t.equal(a.dispatch(), 0);
  t.equal(events, 1);
  t.equal(cb.rings, 1);
  t.equal(cb.coalesced, 2);
  t.ok(cb.notify(), 'after it was taken the next one rings');
});

t.test('a masked port is marked without a ring; the unmask tells', async (t) => {
  const { a, ca, cb, bellA } = await pair(t);
  ca.mask();
  t.equal(cb.notify(), false);
  t.notOk(bellA.wait(0));
  t.equal(a.dispatch(), 0);
  t.equal(ca.unmask(), true);
  t.equal(a.dispatch(), 1);
  t.equal(ca.unmask(), false);
});

t.test('no wake-up is lost: an event after the last look and before the sleep ends the sleep at once', async (t) => {
  const { a, ca, cb, bellA } = await pair(t);
  let events = 0;
  ca.onEvent(() => events++);
  for (let i = 0; i < 100; i++) {
    t.equal(a.dispatch(), 0);
    cb.notify();
    if (!bellA.wait(10e6)) t.fail('slept through an event');
    a.dispatch();
  }
  t.equal(events, 100);
});

t.test('an event that comes while its handler runs is not lost', async (t) => {
  const { a, ca, cb, bellA } = await pair(t);
  let events = 0;
  ca.onEvent(() => {
    if (events++ === 0) t.ok(cb.notify());
  });
  cb.notify();
  a.dispatch();
  t.ok(bellA.wait(0));
  t.equal(events + a.dispatch(), 2);
});

t.test('two channels of one pair share page and doorbell; each handler gets its own events', async (t) => {
  const { a, b, ca, cb } = await pair(t);
  const ca2 = await a.allocUnbound(B);
  const cb2 = await b.bindInterdomain(A, ca2.port);
  b.dispatch();
  const seen: string[] = [];
  ca.onEvent(() => seen.push('first'));
  ca2.onEvent(() => seen.push('second'));
  cb2.notify();
  a.dispatch();
  cb.notify();
  a.dispatch();
  t.same(seen, ['second', 'first']);
});

t.test('bits of ports that a peer does not have are counted and do nothing', async (t) => {
  const { a, b, spaceA } = await pair(t);
  // The first page that A mapped is the pair's.
  const side = new EventSide(spaceA.mem, 0, A, B);
  side.raise(700 as Port);
  side.raise(1023 as Port);
  t.equal(a.dispatch(), 2);
  t.equal(a.stray, 2);
  t.equal(b.dispatch(), 0);
});

t.test('a handler may close its own channel; afterwards nothing touches the page', async (t) => {
  const { world, a, ca, cb } = await pair(t);
  ca.onEvent(() => void ca.close());
  cb.notify();
  t.equal(a.dispatch(), 1);
  await ca.close();
  t.same(world.closed, [ca.port]);
  ca.mask();
  t.equal(ca.unmask(), false);
  t.equal(ca.notify(), false);
  t.equal(a.dispatch(), 0);
  t.same(a.list(), []);
});

t.test(
  'when the other end closes, sends are dropped; when it returns with a new doorbell, it is rung there',
  async (t) => {
    const { world, a, ca, bellB } = await pair(t);
    let gone = 0;
    ca.onUnbound(() => gone++);
    world.emit(A, 'evtchn.unbound', { port: ca.port });
    world.emit(A, 'evtchn.unbound', { port: ca.port });
    t.equal(gone, 1);
    t.equal(ca.notify(), false);
    t.equal(ca.dropped, 1);
    world.bells.set(B, new Bell());
    const bell = new Doorbell(world.bells.get(B)!.hears);
    t.teardown(() => bell.close());
    bellB.wait(0);
    world.emit(A, 'evtchn.bound', { port: ca.port, remotePort: 41 });
    await until(() => ca.bound);
    t.ok(bell.wait(0));
    t.notOk(bellB.wait(0));
    a.close();
  },
);

t.test('a bound event before the port is known here binds it when it is', async (t) => {
  const { world, a, bellB } = bed(t);
  world.emit(A, 'evtchn.bound', { port: 1, remotePort: 77 });
  const ca = await a.allocUnbound(B);
  t.ok(ca.bound);
  t.ok(bellB.wait(0));
});

t.test('a bound event of a port that was closed meanwhile is none of its successor', async (t) => {
  const { world, a, bellB } = bed(t);
  const first = await a.allocUnbound(B);
  world.reuse = first.port;
  // The other end binds, and the news is still on its way when the port is closed here.
  const closed = first.close();
  world.emit(A, 'evtchn.bound', { port: first.port, remotePort: 77 });
  const second = await a.allocUnbound(B);
  await closed;
  t.equal(second.port, first.port);
  t.notOk(second.bound, 'nobody has bound to it');
  t.notOk(bellB.wait(0));
  world.emit(A, 'evtchn.bound', { port: second.port, remotePort: 78 });
  await until(() => second.bound);
  t.ok(bellB.wait(0));
});

t.test('a peer that bound and died before the port is known here leaves a port that can be closed', async (t) => {
  const { world, a } = bed(t);
  world.bells.delete(B);
  world.emit(A, 'evtchn.bound', { port: 1, remotePort: 77 });
  const ca = await a.allocUnbound(B);
  t.notOk(ca.bound);
  t.equal(ca.notify(), false);
  await ca.close();
  t.same(world.closed, [1]);
});

t.test('a port whose page or doorbell cannot be had is given back', async (t) => {
  const { world, a, b } = bed(t);
  world.page = null;
  await t.rejects(a.allocUnbound(B), { code: 'ESRCH' });
  await t.rejects(b.bindInterdomain(A, 9 as Port), { code: 'ESRCH' });
  t.same(world.closed, [1, 40]);
  t.same([a.list(), b.list()], [[], []]);
});

t.test(
  'a domain that comes back with another doorbell is rung there, also while a channel to the dead one is open',
  async (t) => {
    const { world, a, ca } = await pair(t);
    world.emit(A, 'evtchn.unbound', { port: ca.port });
    world.bells.set(B, new Bell());
    const bell = new Doorbell(world.bells.get(B)!.hears);
    t.teardown(() => bell.close());
    const next = await a.allocUnbound(B);
    world.emit(A, 'evtchn.bound', { port: next.port, remotePort: 45 });
    await until(() => next.bound);
    t.ok(bell.wait(0));
    await ca.close();
  },
);

t.test('a peer that died before it could be rung fails the bind and leaves nothing', async (t) => {
  const { world, b } = bed(t);
  world.bells.delete(A);
  await t.rejects(b.bindInterdomain(A, 9 as Port), { code: 'ESRCH' });
  t.same(b.list(), []);
  t.equal(world.closed.length, 1);
});

/** A pair whose end at B is damped, with time by hand. */
async function dampedPair(t: Test) {
  const p = await pair(t);
  const timers: { at: number; then: () => void }[] = [];
  const state = { ms: 0, kicks: 0, masks: 0, published: 0, handled: 0 };
  p.b.storms = {
    kick: () => void state.kicks++,
    count: () => void state.masks++,
    after: (ms, then) => void timers.push({ at: state.ms + ms, then }),
  };
  p.cb.onEvent(
    () => void state.handled++,
    () => state.published,
  );
  const pass = (ms: number): void => {
    state.ms += ms;
    for (const timer of timers.filter((x) => x.at <= state.ms)) {
      timers.splice(timers.indexOf(timer), 1);
      timer.then();
    }
  };
  return { ...p, state, pass, timers };
}

t.test(
  'H6: a peer that rings without having published anything is heard ever less, and another one as ever',
  async (t) => {
    const { a, b, ca, state, pass } = await dampedPair(t);
    const other = await a.allocUnbound(B);
    const work = { done: 0, published: 0 };
    const mine = await b.bindInterdomain(A, other.port);
    b.dispatch();
    mine.onEvent(
      () => void work.done++,
      () => work.published,
    );
    for (let us = 0; us < 1_000_000; us += 20) {
      ca.notify();
      work.published++;
      other.notify();
      b.dispatch();
      pass(0.02);
    }
    t.equal(work.done, 50_000, 'who works is heard each time');
    t.ok(state.handled < 40, `${state.handled} of 50000 rings of the other were heard`);
    t.ok(state.masks > 10, 'and counted');
    const handled = state.handled;
    pass(64);
    t.equal(b.dispatch(), 1, 'what was pending is taken when the mask ends');
    t.equal(state.handled, handled + 1);
    t.ok(state.kicks > 0, 'without a ring');
  },
);

t.test('H6: honest events are never damped, and a reason ends the damping', async (t) => {
  const { b, ca, state, pass } = await dampedPair(t);
  const ring = (publishes: number): void => {
    state.published += publishes;
    ca.notify();
    b.dispatch();
  };
  for (let i = 0; i < 1000; i++) {
    // One to bind, one that comes when a port changes hands, and work that somebody took before its event came.
    for (const n of [1, 0, 0, 3, 0, 0, 0, 0]) ring(n);
  }
  t.equal(state.masks, 0);
  t.equal(state.handled, 8000);
  for (let i = 0; i < 20; i++) {
    ring(0);
    pass(64);
  }
  t.ok(state.masks > 0);
  b.dispatch();
  const { masks } = state;
  ring(1);
  for (let i = 0; i < 4; i++) ring(0);
  t.equal(state.masks, masks, 'it begins anew');
  // Indices that go back and forth are no progress.
  for (let i = 0; i < 10; i++) {
    state.published += i % 2 === 0 ? -1 : 1;
    ring(0);
  }
  t.ok(state.masks > masks);
});

t.test('an end that binds and goes while its doorbell is on its way is not rung, its successor is', async (t) => {
  const { world, a, bellB } = bed(t);
  const ca = await a.allocUnbound(B);
  let go = (): void => {};
  world.slow = new Promise((resolve) => (go = resolve));
  world.emit(A, 'evtchn.bound', { port: ca.port, remotePort: 41 });
  world.emit(A, 'evtchn.unbound', { port: ca.port });
  world.emit(A, 'evtchn.bound', { port: ca.port, remotePort: 42 });
  go();
  await until(() => ca.bound);
  t.equal(ca.rings, 1, 'once, at the second end');
  t.ok(bellB.wait(0));
  // And a channel that is closed meanwhile stays closed.
  const next = await a.allocUnbound(B);
  world.emit(A, 'evtchn.unbound', { port: ca.port });
  world.emit(A, 'evtchn.bound', { port: next.port, remotePort: 43 });
  await next.close();
  await new Promise((resolve) => setImmediate(resolve));
  t.notOk(next.bound);
});

t.test('channels of one peer that are made at once share one page', async (t) => {
  const { a } = bed(t);
  const made = await Promise.all([a.allocUnbound(B), a.allocUnbound(B), a.allocUnbound(B)]);
  for (const c of made) await c.close();
  t.same(a.list(), []);
});
