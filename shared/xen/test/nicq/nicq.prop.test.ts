import t from 'tap';
import fc from 'fast-check';
import { NICQ_AVAIL_PROD, NICQ_COMP_PROD, NICQ_SIZE, compLen } from '../../src/abi/nic-queue.js';
import { memOver } from '@grantline/machine';
import { DeviceQueue, DriverQueue } from '../../src/nicq/rx-queue.js';

t.test(
  'completions come in the order of the buffers, none twice, none lost, and no sleeper misses its wake-up',
  (t) => {
    const step = fc.record({
      kind: fc.constantFrom('post', 'complete', 'take', 'driverSleeps', 'deviceSleeps'),
      n: fc.integer({ min: 1, max: 200 }),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 120, size: 'max' }), (steps) => {
        const mem = memOver(new ArrayBuffer(3 * 4096));
        const driver = new DriverQueue(mem, 0);
        const device = new DeviceQueue(mem, 0, 4096, 8192);
        const posted: number[] = [];
        const completed: number[] = [];
        let serial = 1;
        let driverAsleep = false;
        let deviceAsleep = false;
        for (const s of steps) {
          if (s.kind === 'post') {
            for (let i = 0; i < s.n && driver.free() > 0; i++) {
              driver.post(serial, 2048, 1000);
              posted.push(serial++);
            }
            if (driver.publish()) deviceAsleep = false;
          } else if (s.kind === 'complete') {
            const n = Math.min(s.n, device.available());
            for (let i = 0; i < n; i++) {
              const dpn = mem.u32[device.entry() >> 2];
              if (dpn !== posted[0]) return false;
              completed.push(posted.shift()!);
              device.complete(dpn & 0xffff, 1);
            }
            if (device.publish()) driverAsleep = false;
          } else if (s.kind === 'take') {
            const n = Math.min(s.n, driver.completed());
            for (let i = 0; i < n; i++) if (compLen(driver.completion(i)) !== (completed[i] & 0xffff)) return false;
            driver.consume(n);
            completed.splice(0, n);
          } else if (s.kind === 'driverSleeps') driverAsleep = !driver.arm();
          else deviceAsleep = !device.arm();
          if (deviceAsleep && posted.length > 0) return false;
          if (driverAsleep && completed.length > 0) return false;
          if (driver.free() !== NICQ_SIZE - posted.length - completed.length) return false;
        }
        return true;
      }),
      { numRuns: 200 },
    );
    t.end();
  },
);

t.test('an index that the other side cannot have reached is reported, not used', (t) => {
  const mem = memOver(new ArrayBuffer(3 * 4096));
  const driver = new DriverQueue(mem, 0);
  const device = new DeviceQueue(mem, 0, 4096, 8192);
  driver.post(1, 0, 100);
  driver.publish();
  mem.u32[NICQ_COMP_PROD >> 2] = 2;
  t.equal(driver.completed(), -1);
  mem.u32[NICQ_AVAIL_PROD >> 2] = NICQ_SIZE + 1;
  t.equal(device.available(), -1);
  t.end();
});
