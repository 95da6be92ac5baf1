import t from 'tap';
import type { DomId } from '@grantline/base';
import { memOver, CounterBlock, slots, type Layout, cpuLayout, HYPERVISOR_CPU } from '@grantline/machine';
import { HYPERCALL_COUNTERS } from '@grantline/observe';
import { Accounting } from '../../src/control/accounting.js';
import { bed } from './bed.js';

const C = slots(HYPERCALL_COUNTERS);
const block = (layout: Layout): CounterBlock => new CounterBlock(memOver(new ArrayBuffer(4096)), 0, layout);

const CPU = slots(HYPERVISOR_CPU);

function setUp() {
  const clock = { cpu: 1e9 };
  const parts = new Float64Array(HYPERVISOR_CPU.length);
  const cpu = block(cpuLayout(HYPERVISOR_CPU));
  const accounting = new Accounting(cpu, { threadCpuNs: () => clock.cpu, settle: () => undefined, parts });
  const [a, b] = [1 as DomId, 2 as DomId].map((d) => accounting.open(d, block(HYPERCALL_COUNTERS)));
  /** Work of the event loop that takes so long. */
  const work = (ns: number) => (): void => void (clock.cpu += ns);
  const sum = (): number => cpu.v.reduce((x, y) => x + y);
  return { cpu, accounting, a, b, work, parts, sum };
}

t.test('handlers are charged to the caller, the rest by number of messages; the parts are the whole', (t) => {
  const { cpu, accounting, a, b, work, parts } = setUp();
  accounting.spend(a, work(300));
  a.messages = 3;
  accounting.spend(b, work(100));
  b.messages = 1;
  accounting.spend(null, work(100));
  parts[CPU.control] = 1000;
  accounting.settle();
  t.same(cpu.read(), { wakeup: 0, control: 100, idle: 0, hypercalls: 400, transport: 500 });
  t.same([a.block.v[C.cpuNs], a.block.v[C.transportNs]], [300, 375]);
  t.same([b.block.v[C.cpuNs], b.block.v[C.transportNs]], [100, 125]);
  t.end();
});

t.test("what a ring's loop spends is charged to its callers: the executing by time, the rest by slots", (t) => {
  const { cpu, accounting, a, b, parts, sum } = setUp();
  accounting.chargeRing(a, 0, 600);
  accounting.chargeRing(b, 600, 700);
  accounting.chargeRing(b, 700, 800);
  // The thread had the core for half of that time.
  parts[CPU.hypercalls] = 400;
  parts[CPU.transport] = 30;
  parts[CPU.wakeup] = 60;
  parts[CPU.idle] = 1000;
  parts[CPU.control] = 50;
  accounting.settle();
  t.same(cpu.read(), { wakeup: 60, control: 50, idle: 1000, hypercalls: 400, transport: 30 });
  t.same([a.block.v[C.cpuNs], a.block.v[C.transportNs]], [300, 30]);
  t.same([b.block.v[C.cpuNs], b.block.v[C.transportNs]], [100, 60]);
  accounting.settle();
  t.equal(sum(), 1540, 'once');
  t.end();
});

t.test('a handler that asks for the settling itself is not charged with more than the thread had', (t) => {
  const { accounting, a, work, parts, sum } = setUp();
  accounting.spend(a, () => {
    work(500)();
    parts[CPU.control] = 400;
    accounting.settle();
  });
  parts[CPU.control] = 500;
  accounting.settle();
  t.equal(sum(), 500);
  t.end();
});

t.test('without messages all is control: an idle hypervisor charges no domain', (t) => {
  const { cpu, accounting, a, parts } = setUp();
  parts[CPU.control] = 700;
  accounting.settle();
  t.same(cpu.read(), { wakeup: 0, control: 700, idle: 0, hypercalls: 0, transport: 0 });
  t.equal(a.block.v[C.transportNs], 0);
  t.end();
});

t.test('the components add up to the CPU time of the thread, within 5 %, in a hypervisor that works', async (t) => {
  const b = await bed(t);
  const dd = await b.open('driver-domain');
  const read = async (): Promise<{ thread: number; parts: number; charged: number }> => {
    const { dataThreadCpuNs, blocks } = (await b.api('GET', '/counters')).body;
    const of = (kind: string): Record<string, number> => blocks.find((x) => x.kind === kind)!.values;
    const sum = (v: Record<string, number>): number => Object.values(v).reduce((x, y) => x + y);
    const calls = of('hypercalls');
    return { thread: dataThreadCpuNs, parts: sum(of('cpu')), charged: calls.cpuNs + calls.transportNs };
  };
  const before = await read();
  for (let i = 0; i < 3000; i++)
    await dd.mapSelf([10, 11]).then((dpns) => dd.hypercall(0x101, 2, Buffer.from(Uint32Array.from(dpns).buffer)));
  const after = await read();
  const ratio = (after.parts - before.parts) / (after.thread - before.thread);
  t.ok(ratio > 0.95 && ratio < 1.05, `ratio ${ratio}`);
  t.ok(
    after.charged - before.charged > 0.8 * (after.parts - before.parts),
    'nearly all is charged to the domain that called',
  );
});
