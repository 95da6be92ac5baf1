import t from 'tap';
import { DOMID_DRIVER } from '@grantline/base';
import { NativeControl, type NativeOptions } from '../../src/control/native-control.js';

const far = { mac: '02:00:00:00:00:01', ip: '10.0.255.254' };
const base = {
  ...{ seed: 1, frameSizes: [1514], protocol: 'auto', flows: 1, guests: [1, 2] },
  to: far,
};
const pairs = [{ from: 1, to: { mac: '00:16:3e:00:00:02', ip: '10.0.0.2' } }];

/** Where the driver domain is put when a run of that kind is announced: true is a guest's core. */
async function placed(run: object): Promise<boolean[]> {
  const seen: boolean[] = [];
  let changed: () => void = () => {};
  const native = new NativeControl({
    domid: DOMID_DRIVER,
    xenstore: {
      read: () => Promise.resolve(JSON.stringify({ id: 1, mode: 'verify', ...base, ...run })),
      write: () => Promise.resolve(),
      watch: (_path: string, fn: () => void) => {
        changed = fn;
        return Promise.resolve(() => Promise.resolve());
      },
    },
    place: (away: boolean) => void seen.push(away),
    queue: {
      startBridge: () => Promise.resolve(),
      startNative: () => Promise.resolve(),
      stop: () => Promise.resolve(),
    },
    sender: { start: () => Promise.resolve(), stop: () => Promise.resolve() },
    prepareSend: () => Promise.resolve(),
    log: { warn: () => {} },
  } as unknown as NativeOptions);
  await native.begin();
  changed();
  for (let i = 0; i < 10; i++) await new Promise((resolve) => setImmediate(resolve));
  return seen;
}

t.test("the driver domain leaves the NIC's core exactly when guests send to the far end of the cable", async (t) => {
  t.same(await placed({ direction: 'rx' }), [false]);
  t.same(await placed({ direction: 'tx' }), [true]);
  t.same(await placed({ direction: 'rr' }), [false]);
  t.same(await placed({ direction: 'tx', pairs }), [false], 'between guests the far end has no part in it');
});
