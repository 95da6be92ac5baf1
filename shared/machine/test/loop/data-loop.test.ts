import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { connect, createServer, type AddressInfo } from 'node:net';
import fc from 'fast-check';
import t, { type Test as T } from 'tap';
import { CPU_COMMON, CPU_CONTROL, CpuMeter, cpuLayout } from '../../src/loop/cpu-meter.js';
import { COUNTER_FILE_BYTES, CounterFile, slots } from '../../src/counters/counter-file.js';
import { DataLoop, LOOP_COUNTERS, type Poller } from '../../src/loop/data-loop.js';
import { AddressSpace } from '../../src/mem/address-space.js';
import { Doorbell, Ringer } from '../../src/mem/doorbell.js';
import { DescriptorWatch, drainFd, longSleepUs, makePipe, pokeFd, processCpuNs } from '../../src/mem/libc.js';
import { makeMemory } from '../../src/mem/memory-file.js';
import { Bell } from '../../testkit/handles.js';

const C = slots(LOOP_COUNTERS);

/** A loop over a real pipe, with one poller that has `work` units to do. */
function setUp(t: T): {
  loop: DataLoop;
  ringer: Ringer;
  poller: Poller & { work: number; done: number };
  counters: Float64Array;
  cpu: Float64Array;
  state: { waiting: boolean; onDispatch: (() => number) | null };
  bell: Bell;
  end: () => void;
} {
  const bell = new Bell();
  const file = new CounterFile(new AddressSpace(1 << 20), makeMemory('test', COUNTER_FILE_BYTES));
  const cpuBlock = file.block(cpuLayout([...CPU_COMMON, 'rest']));
  const counters = file.block(LOOP_COUNTERS);
  const doorbell = new Doorbell(bell.hears);
  const ringer = new Ringer(bell.rings);
  const state: { waiting: boolean; onDispatch: (() => number) | null } = { waiting: false, onDispatch: null };
  const poller = {
    scheduled: false,
    work: 0,
    done: 0,
    poll(): number {
      if (this.work === 0) return 0;
      this.work--;
      this.done++;
      return 1;
    },
    arm(): boolean {
      return this.work > 0;
    },
  };
  const loop: DataLoop = new DataLoop({
    doorbell,
    meter: new CpuMeter(cpuBlock),
    counters,
    dispatch: () => {
      const events = state.onDispatch?.() ?? 0;
      if (poller.work > 0) poller.scheduled = true;
      return events;
    },
    waiting: () => state.waiting,
    rest: 3,
  });
  loop.add(poller);
  let isOpen = true;
  const end = (): void => {
    if (!isOpen) return;
    isOpen = false;
    loop.stop();
    doorbell.close();
    ringer.close();
    bell.close();
  };
  t.teardown(end);
  return { loop, ringer, poller, counters: counters.v, cpu: cpuBlock.v, state, bell, end };
}

const sleep = (ms: number): Promise<void> => new Promise((done) => setTimeout(done, ms));

t.test('work that appears together with a ring is done, in short sleeps and in deep ones', async (t) => {
  const { ringer, poller, counters, state } = setUp(t);
  for (const waiting of [false, true]) {
    state.waiting = waiting;
    for (let i = 1; i <= 30; i++) {
      const before = poller.done;
      poller.work += 3;
      ringer.ring();
      await sleep(i % 3);
      while (poller.done < before + 3) await sleep(1);
    }
  }
  t.equal(poller.done, 180);
  t.ok(counters[C.deepSleeps] > 0);
});

t.test('an event between arming and sleeping is not lost', async (t) => {
  const { ringer, poller, state } = setUp(t);
  const arm = poller.arm.bind(poller);
  let rounds = 0;
  poller.arm = () => {
    const more = arm();
    if (rounds < 200 && !more) {
      // The peer publishes right after our last look: its ring has to end the sleep that follows.
      rounds++;
      poller.work++;
      ringer.ring();
    }
    return more;
  };
  state.waiting = false;
  ringer.ring();
  while (poller.done < 200) await sleep(1);
  t.equal(poller.done, 200);
});

/** Rings from another process once this one sleeps: nothing of its own wakes it up. */
function ringFromAfar(t: T, bell: Bell): void {
  const script = 'sleep 0.2; printf x >&3; sleep 60';
  const child = spawn('/bin/sh', ['-c', script], { stdio: ['ignore', 'ignore', 'ignore', bell.rings], detached: true });
  t.teardown(() => process.kill(-child.pid!));
}

t.test('who rings in a long sleep is served in the same turn, without the event loop', async (t) => {
  const { poller, counters, state, bell } = setUp(t);
  while (counters[C.deepSleeps] === 0) await sleep(5);
  ringFromAfar(t, bell);
  const wakeups = counters[C.wakeups];
  let turns = 0;
  await new Promise<void>((resolve) => {
    state.onDispatch = () => {
      if (counters[C.wakeups] === wakeups) turns = counters[C.turns];
      else if (poller.done === 0) {
        poller.work = 1;
        resolve();
      }
      return 0;
    };
  });
  t.equal(poller.done, 1);
  t.equal(counters[C.turns], turns);
});

t.test('a handler that leaves something to a promise is not slept over', async (t) => {
  const { counters, state, bell } = setUp(t);
  while (counters[C.deepSleeps] === 0) await sleep(5);
  ringFromAfar(t, bell);
  const wakeups = counters[C.wakeups];
  // No timer and no descriptor follows: only the end of the turn runs what the promise holds.
  await new Promise<void>((resolve) => {
    state.onDispatch = () => {
      if (counters[C.wakeups] === wakeups) return 0;
      state.onDispatch = null;
      void Promise.resolve().then(resolve);
      return 1;
    };
  });
});

t.test('what comes for the event loop ends a long sleep: timers, files, sockets', async (t) => {
  const { counters } = setUp(t);
  for (let i = 0; i < 5; i++) {
    const slept = counters[C.deepSleeps];
    while (counters[C.deepSleeps] < slept + 2) await sleep(1);
    // Each of these would last for an hour if it had to wait for the end of the sleep.
    await readFile('/proc/self/stat');
    await sleep(30);
    const server = createServer((socket) => socket.end('answer')).listen(0, '127.0.0.1');
    await once(server, 'listening');
    await sleep(20);
    const client = connect((server.address() as AddressInfo).port, '127.0.0.1');
    const [data] = (await once(client, 'data')) as [Buffer];
    t.equal(String(data), 'answer');
    server.close();
  }
});

t.test('a poller that always has work leaves the others their batch, and the event loop its slice', async (t) => {
  const { loop, poller, ringer } = setUp(t);
  let more = true;
  const greedy: Poller = { scheduled: false, poll: () => (more ? 1 : 0), arm: () => more };
  loop.add(greedy);
  poller.work = 10_000;
  ringer.ring();
  while (poller.work > 0) await sleep(1);
  t.equal(poller.done, 10_000);
  more = false;
});

t.test('wherever a peer publishes and rings, its work is done without any other event', async (t) => {
  const places = ['dispatch', 'poll', 'arm', 'due'] as const;
  type Place = (typeof places)[number];
  // Keeps the process, and wakes nobody up.
  const forever = setInterval(() => {}, 2 ** 30);
  t.teardown(() => clearInterval(forever));
  const run = (waiting: boolean, rings: readonly { place: Place; nth: number }[]): Promise<void> =>
    new Promise((resolve) => {
      const { loop, ringer, poller, state, end } = setUp(t);
      state.waiting = waiting;
      const left = [...rings];
      const passed = { dispatch: 0, poll: 0, arm: 0, due: 0 };
      let pending = 0;
      const publish = (): void => {
        pending++;
        ringer.ring();
      };
      const pass = (place: Place): void => {
        passed[place]++;
        const at = left.findIndex((r) => r.place === place && r.nth <= passed[place]);
        if (at >= 0) left.splice(at, 1);
        if (at >= 0) publish();
      };
      state.onDispatch = () => {
        const events = pending;
        poller.work += pending;
        pending = 0;
        pass('dispatch');
        return events;
      };
      const poll = poller.poll.bind(poller);
      const arm = poller.arm.bind(poller);
      poller.poll = () => {
        const n = poll();
        pass('poll');
        if (poller.done > rings.length) {
          // Out of the loop's own poll it cannot be closed.
          setImmediate(() => {
            end();
            resolve();
          });
        }
        return n;
      };
      poller.arm = () => {
        const more = arm();
        pass('arm');
        return more;
      };
      loop.addHooks({
        dueUs() {
          pass('due');
          // Nothing is on its way, and the plan has more, for places that are not passed before: it comes right before the sleep.
          if (pending === 0 && left.pop() !== undefined) publish();
          return Infinity;
        },
      });
      publish();
    });
  const ring = fc.record({ place: fc.constantFrom(...places), nth: fc.integer({ min: 1, max: 6 }) });
  await fc.assert(fc.asyncProperty(fc.boolean(), fc.array(ring, { maxLength: 8, size: 'max' }), run), { numRuns: 80 });
});

t.test('a poller that another one schedules is polled before the loop sleeps, whatever their order', async (t) => {
  for (const asks of ['poll', 'arm'] as const) {
    for (const waiting of [false, true]) {
      const { loop, poller: first, counters, state } = setUp(t);
      state.waiting = waiting;
      while (counters[C.deepSleeps] === 0) await sleep(1);
      // It has no work of its own, and comes after the one that it finds work for.
      const wake = (): void => {
        if (last.woken++ > 0) return;
        first.work = 1;
        loop.schedule(first);
      };
      const last = {
        scheduled: false,
        woken: 0,
        poll(): number {
          if (asks === 'poll') wake();
          return 0;
        },
        arm(): boolean {
          if (asks === 'arm') wake();
          return false;
        },
      };
      loop.add(last);
      while (last.woken === 0) await sleep(1);
      // Longer than the loop sleeps for anything else than an event: what it sleeps over stays undone.
      for (let i = 0; i < 2000 && first.done === 0; i++) await sleep(1);
      t.equal(first.done, 1, `scheduled by ${asks}`);
      loop.stop();
    }
  }
});

t.test('an idle loop has no turns but for what comes for the event loop, and uses no CPU time', async (t) => {
  const { counters } = setUp(t);
  while (counters[C.deepSleeps] === 0) await sleep(5);
  // That of the timer: one turn after it, and one that sleeps again. V8's compilers, which this file has kept busy, may still have something to
  // say for a while, and that is for the event loop.
  let turns = Infinity;
  let cpuNs = Infinity;
  for (let windows = 0; windows < 40 && (turns > 4 || cpuNs >= 100e6); windows++) {
    const before = { turns: counters[C.turns], cpuNs: processCpuNs() };
    await sleep(300);
    turns = counters[C.turns] - before.turns;
    cpuNs = processCpuNs() - before.cpuNs;
  }
  t.ok(turns <= 4, `${turns} turns`);
  t.ok(cpuNs < 100e6);
});

t.test(
  'where others have the core most of the time, the event loop has its turn when something came for it, timers soon',
  async (t) => {
    const file = new CounterFile(new AddressSpace(1 << 20), makeMemory('test', COUNTER_FILE_BYTES));
    const meter = new CpuMeter(file.block(cpuLayout([...CPU_COMMON, 'rest'])));
    const counters = file.block(LOOP_COUNTERS);
    const bell = new Bell();
    const doorbell = new Doorbell(bell.hears);
    const ringer = new Ringer(bell.rings);
    const { reads, writes } = makePipe();
    // Time that goes by only while others have the core: 0.8 ms whenever it is given away, and there is work behind it.
    const awayNs = 800e3;
    let yields = 0;
    let atYield = (): void => {};
    meter.begin = meter.lap = meter.end = () => {};
    meter.lapAway = () => {
      meter.now += awayNs;
      yields++;
      atYield();
      return awayNs;
    };
    let polls = 0;
    const poller = { scheduled: false, poll: () => ++polls & 1, arm: () => false };
    const options = { doorbell, meter, counters, dispatch: () => 0, waiting: () => false, rest: 3 };
    const loop = new DataLoop(options);
    let heardAt = 0;
    const watch = new DescriptorWatch(reads, () => {
      drainFd(reads);
      heardAt = yields;
    });
    t.teardown(() => {
      loop.stop();
      watch.close();
      doorbell.close();
      ringer.close();
      bell.close();
      closeSync(reads);
      closeSync(writes);
    });
    loop.add(poller);
    // The loop is never out of work: timers come in turns of the event loop, one in 100 ms, where it would be one in 20. V8's compilers, which
    // this file has kept busy, may still have something to say for a while, and that is for the event loop, too.
    const seldom = async (): Promise<boolean> => {
      for (let windows = 0; windows < 40; windows++) {
        const before = { turns: counters.v[C.turns], yields };
        while (yields < before.yields + 2000) await sleep(1);
        if ((counters.v[C.turns] - before.turns) * 90e6 < (yields - before.yields) * awayNs) return true;
      }
      return false;
    };
    await sleep(1);
    t.ok(await seldom(), 'nothing comes');
    atYield = () => ringer.ring();
    t.ok(await seldom(), 'rings are not for the event loop');
    let sentAt = 0;
    atYield = () => {
      if (sentAt !== 0 || yields % 50 !== 0) return;
      sentAt = yields;
      pokeFd(writes);
    };
    while (heardAt === 0) await sleep(1);
    t.ok((heardAt - sentAt) * awayNs < 25e6, `after ${heardAt - sentAt} times 0.8 ms`);
  },
);

t.test('a deadline wakes the loop; all deadlines are asked before a sleep, and none that was taken away', async (t) => {
  const { loop, poller } = setUp(t);
  const asked = [0, 0];
  const near = {
    dueUs() {
      asked[0]++;
      poller.scheduled = true;
      return 500;
    },
  };
  const far = {
    dueUs() {
      asked[1]++;
      return Infinity;
    },
  };
  loop.addHooks(near);
  loop.addHooks(far);
  poller.work = 1;
  loop.kick();
  while (poller.done < 1) await sleep(1);
  // Nobody rings.
  poller.work = 1;
  while (poller.done < 2) await sleep(1);
  t.ok(asked[0] > 0 && asked[1] > 0, `asked ${asked.join()} times`);
  loop.removeHooks(near);
  await sleep(20);
  const [then] = asked;
  loop.kick();
  await sleep(5);
  t.equal(asked[0], then);
});

t.test("the time between turns is the first part's that claims it, else the event loop's", (t) => {
  const { loop } = setUp(t);
  let claims = false;
  const hooks = [
    { between: () => CPU_CONTROL },
    { between: () => (claims ? 3 : CPU_CONTROL) },
    { between: () => CPU_CONTROL },
  ];
  for (const h of hooks) loop.addHooks(h);
  t.equal(loop.between(), CPU_CONTROL);
  claims = true;
  t.equal(loop.between(), 3);
  loop.removeHooks(hooks[1]);
  t.equal(loop.between(), CPU_CONTROL);
  t.end();
});

t.test('sockets have their turn while the data path is busy', async (t) => {
  const { poller, ringer } = setUp(t);
  poller.work = 5_000_000;
  ringer.ring();
  await sleep(5);
  t.ok(poller.work > 0, 'a timer ran before the work was done');
});

t.test('each loop has counted its CPU time in parts', async (t) => {
  const { poller, ringer, cpu } = setUp(t);
  poller.work = 300_000;
  ringer.ring();
  while (poller.work > 0 || cpu[0] + cpu[1] === 0) await sleep(5);
  t.ok(cpu[3] > 1e6, 'the poller was charged');
  t.ok(cpu[0] + cpu[1] > 0, 'waking and control were charged');
});

t.test(
  'what a poller throws ends that poller alone, and its owner is told; whose has no owner, ends the loop',
  async (t) => {
    const { loop, poller, ringer } = setUp(t);
    const told: unknown[] = [];
    for (const at of ['poll', 'arm'] as const) {
      const bad: Poller & { calls: number } = {
        scheduled: false,
        calls: 0,
        poll() {
          this.calls++;
          if (at === 'poll') throw new Error('in poll');
          return 0;
        },
        arm() {
          throw new Error('in arm');
        },
      };
      const last: Poller & { done: number } = { scheduled: false, done: 0, poll: () => 0, arm: () => false };
      last.poll = () => Math.min(1, Math.max(0, 3 - last.done++));
      loop.add(bad, (err) => told.push((err as Error).message));
      loop.add(last);
      poller.work = 5;
      ringer.ring();
      while (poller.work > 0 || last.done < 3) await sleep(1);
      t.same(told.splice(0), [`in ${at}`]);
      const { calls } = bad;
      loop.schedule(bad);
      poller.work = 5;
      ringer.ring();
      while (poller.work > 0) await sleep(1);
      t.equal(bad.calls, calls, 'it is polled no more');
    }
    const thrown = new Promise((resolve) => process.once('uncaughtException', resolve));
    loop.add({
      scheduled: false,
      poll() {
        throw new Error("the service's own");
      },
      arm: () => false,
    });
    t.match(await thrown, { message: "the service's own" });
  },
);

t.test('beside an event loop that learns of other threads by an edge no sleep is long', (t) => {
  const seconds = ['1.46.0', '1.48.0', '1.49.1', '1.49.2', '1.52.1', '1.53.0', '2.0.0'].map(
    (v) => longSleepUs(v) / 1e6,
  );
  t.same(seconds, [3600, 3600, 0.1, 3600, 3600, 0.1, 0.1]);
  t.end();
});
