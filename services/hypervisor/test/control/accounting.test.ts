import t from 'tap';
import type { DomId } from '@grantline/base';
import { memOver, CounterBlock, slots, type Layout, cpuLayout, HYPERVISOR_CPU } from '@grantline/machine';
import { HYPERCALL_COUNTERS } from '@grantline/observe';
import { Accounting } from '../../src/control/accounting.js';
import { bed } from './bed.js';

const C = slots(HYPERCALL_COUNTERS);
const block = (layout: Layout): CounterBlock => new CounterBlock(memOver(new ArrayBuffer(4096)), 0, layout);

function setUp() {
  const clock = { cpu: 1e9, active: 5e9 };
  const cpu = block(cpuLayout(HYPERVISOR_CPU));
  const accounting = new Accounting(cpu, { threadCpuNs: () => clock.cpu, activeNs: () => clock.active });
  const [a, b] = [1 as DomId, 2 as DomId].map((d) => accounting.open(d, block(HYPERCALL_COUNTERS)));
  return { clock, cpu, accounting, a, b };
}

t.test('handlers are charged to the caller, the rest by number of messages; the parts are the whole', (t) => {
  const { clock, cpu, accounting, a, b } = setUp();
  a.handlerNs = 300;
  a.messages = 3;
  b.handlerNs = 100;
  b.messages = 1;
  accounting.controlNs = 100;
  clock.cpu += 1000;
  clock.active += 1000;
  accounting.settle();
  t.same(cpu.read(), { wakeup: 0, control: 100, idle: 0, hypercalls: 400, transport: 500 });
  t.same([a.block.v[C.cpuNs], a.block.v[C.transportNs]], [300, 375]);
  t.same([b.block.v[C.cpuNs], b.block.v[C.transportNs]], [100, 125]);
  t.end();
});

t.test("time in which another process had the core is nobody's", (t) => {
  const { clock, cpu, accounting, a } = setUp();
  a.handlerNs = 800;
  a.messages = 1;
  clock.cpu += 500;
  clock.active += 1000;
  accounting.settle();
  t.same(cpu.read(), { wakeup: 0, control: 0, idle: 0, hypercalls: 400, transport: 100 });
  a.handlerNs = 800;
  clock.cpu += 500;
  accounting.settle();
  t.equal(
    cpu.v.reduce((x, y) => x + y),
    1000,
    'never more than the thread had',
  );
  t.end();
});

t.test('without messages all is control: an idle hypervisor charges no domain', (t) => {
  const { clock, cpu, accounting, a } = setUp();
  clock.cpu += 700;
  clock.active += 900;
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
