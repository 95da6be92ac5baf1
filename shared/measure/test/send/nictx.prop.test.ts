import fc from 'fast-check';
import t from 'tap';
import {
  NICQ_COMP_PROD,
  NICTX_COMP_REFUSED,
  NICTX_COMP_SENT,
  NICTX_EOP,
  NICTX_SIZE,
  TxDeviceQueue,
  TxDriverQueue,
  ringIdx,
} from '@grantline/xen';
import { memOver } from '@grantline/machine';
import { SendBuffers } from '../../src/send/send-buffers.js';

const PAGE = 4096;

t.test('descriptors reach the NIC as posted, completions the driver in order, also where indices wrap', (t) => {
  fc.assert(
    fc.property(
      fc.constantFrom(0, 0xffffff80, 0xffffffff),
      fc.array(fc.record({ post: fc.nat(40), take: fc.nat(40), back: fc.nat(60), asks: fc.nat(20) }), {
        maxLength: 60,
        size: 'max',
      }),
      (start, steps) => {
        const mem = memOver(new ArrayBuffer(4 * PAGE));
        const driver = new TxDriverQueue(mem, PAGE, ringIdx(start));
        const device = new TxDeviceQueue(mem, PAGE, 2 * PAGE, 3 * PAGE, ringIdx(start));
        const posted: number[] = [];
        const done: number[] = [];
        let n = 0;
        for (const step of steps) {
          let armed = -1;
          if (step.asks > 0 && posted.length === 0 && !device.arm(step.asks)) armed = step.asks;
          const before = device.available();
          for (let i = 0; i < step.post && driver.free() > 0; i++) {
            driver.post(++n, n & 4095, (n * 7) & 0xffff, NICTX_EOP, n & 0xffff, 34, 66);
            posted.push(n);
          }
          const told = driver.publish();
          if (armed > 0 && told !== device.available() - before >= armed) return false;
          for (let i = 0; i < step.take && device.available() > 0; i++) {
            const at = device.entry();
            const want = posted.shift()!;
            const words = [...mem.u32.subarray(at, at + 4)];
            const is = [
              want,
              (want & 4095) | (((want * 7) & 0xffff) << 16),
              NICTX_EOP | ((want & 0xffff) << 16),
              34 | (66 << 16),
            ];
            if (words.some((w, k) => w !== is[k] >>> 0)) return false;
            const status = want % 3 === 0 ? NICTX_COMP_REFUSED : NICTX_COMP_SENT;
            device.complete(1, status);
            done.push(status);
          }
          device.publish();
          const ready = Math.min(step.back, driver.completed());
          for (let i = 0; i < ready; i++) if (driver.status(i) !== done.shift()) return false;
          driver.consume(ready);
          if (driver.free() + driver.outstanding() !== NICTX_SIZE) return false;
        }
        return true;
      },
    ),
    { numRuns: 200 },
  );
  const mem = memOver(new ArrayBuffer(4 * PAGE));
  const driver = new TxDriverQueue(mem, PAGE);
  driver.post(1, 0, 60, NICTX_EOP);
  driver.publish();
  mem.u32[(PAGE + NICQ_COMP_PROD) >> 2] = 2;
  t.equal(driver.completed(), -1, 'a NIC that claims more than was posted is not believed');
  t.end();
});

t.test('transmit buffers: small frames get halves of pages, none is given twice, all come back', (t) => {
  for (const halves of [false, true]) {
    const pages = Int32Array.from({ length: 16 }, (_, i) => (i + 1) * PAGE);
    const b = new SendBuffers(pages, halves);
    t.equal(b.count, halves ? 24 : 16);
    fc.assert(
      fc.property(
        fc.array(fc.record({ bytes: fc.integer({ min: 1, max: 30000 }), back: fc.nat(9) }), {
          maxLength: 80,
          size: 'max',
        }),
        (list) => {
          const out: number[] = [];
          for (const { bytes, back } of list) {
            if (b.canHold(bytes)) {
              for (let left = bytes; left > 0;) {
                const id = b.take(bytes);
                if (out.includes(id) || (bytes > 2048 && b.size[id] !== PAGE)) return false;
                out.push(id);
                left -= b.size[id];
              }
            }
            for (let i = 0; i < back && out.length > 0; i++) b.give(out.shift()!);
          }
          const spans = out.map((id) => [b.at[id], b.at[id] + b.size[id]] as const);
          const apart = spans.every(([a, e], i) => spans.every(([x, y], k) => k === i || e <= x || y <= a));
          while (out.length > 0) b.give(out.shift()!);
          return apart && b.free === b.count;
        },
      ),
      { numRuns: 100 },
    );
  }
  t.end();
});
