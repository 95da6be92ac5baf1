import t, { type Test as T } from 'tap';
import { CPU_COMMON, CPU_CONTROL, CpuMeter, cpuLayout } from '../../src/loop/cpu-meter.js';
import { COUNTER_FILE_BYTES, CounterFile, slots } from '../../src/counters/counter-file.js';
import { DataLoop, LOOP_COUNTERS, type Poller } from '../../src/loop/data-loop.js';
import { AddressSpace } from '../../src/mem/address-space.js';
import { Doorbell, Ringer } from '../../src/mem/doorbell.js';
import { processCpuNs } from '../../src/mem/libc.js';
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
  state: { waiting: boolean; onDispatch: (() => void) | null };
} {
  const bell = new Bell();
  const file = new CounterFile(new AddressSpace(1 << 20), makeMemory('test', COUNTER_FILE_BYTES));
  const cpuBlock = file.block(cpuLayout([...CPU_COMMON, 'rest']));
  const counters = file.block(LOOP_COUNTERS);
  const doorbell = new Doorbell(bell.hears);
  const ringer = new Ringer(bell.rings);
  const state: { waiting: boolean; onDispatch: (() => void) | null } = { waiting: false, onDispatch: null };
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
      state.onDispatch?.();
      if (poller.work > 0) poller.scheduled = true;
    },
    waiting: () => state.waiting,
    rest: 3,
  });
  loop.add(poller);
  t.teardown(() => {
    loop.stop();
    doorbell.close();
    ringer.close();
    bell.close();
  });
  return { loop, ringer, poller, counters: counters.v, cpu: cpuBlock.v, state };
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

t.test('an idle loop sleeps in the event loop and uses no CPU time', async (t) => {
  const { counters } = setUp(t);
  while (counters[C.deepSleeps] === 0) await sleep(5);
  const turns = counters[C.turns];
  const cpu = processCpuNs();
  await sleep(300);
  t.equal(counters[C.turns], turns, 'no turn without an event');
  t.ok(processCpuNs() - cpu < 100e6);
});

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
