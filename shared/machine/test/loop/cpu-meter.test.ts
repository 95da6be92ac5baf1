/** Whoever reads a service's counters finds all of its CPU time in them, also when its data loop has had no turn for long. */
import t from 'tap';
import { CPU_COMMON, CPU_CONTROL, CpuMeter, cpuLayout } from '../../src/loop/cpu-meter.js';
import { CounterBlock } from '../../src/counters/counter-file.js';
import { memOver } from '../../src/mem/address-space.js';
import { threadCpuNs } from '../../src/mem/libc.js';

function burn(ms: number): void {
  const end = threadCpuNs() + ms * 1e6;
  while (threadCpuNs() < end);
}

t.test('what the event loop used since the last stretch of work is booked when it is asked for, and once only', (t) => {
  const block = new CounterBlock(memOver(new ArrayBuffer(256)), 0, cpuLayout([...CPU_COMMON, 'work']));
  const start = threadCpuNs();
  const meter = new CpuMeter(block);
  meter.begin(CPU_CONTROL);
  burn(5);
  meter.end(3);
  burn(20);
  meter.settle(CPU_CONTROL);
  const read = block.read();
  t.ok((read['control'] ?? 0) >= 20e6, `control: ${read['control']} ns`);
  meter.begin(CPU_CONTROL);
  meter.end(3);
  const all = Object.values(block.read()).reduce((a, b) => a + b, 0);
  const used = threadCpuNs() - start;
  t.ok(all <= used && all > 0.9 * used, `${all} of ${used} ns`);
  t.end();
});
