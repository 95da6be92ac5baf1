import t from 'tap';
import { untilNothingLeft } from '../../src/base/standstill.js';

/** A clock that moves only while somebody pauses. */
function clock(): { now: () => number; pause: (ms: number) => Promise<void>; at: number } {
  const c = { at: 0, now: () => c.at, pause: (ms: number) => Promise.resolve(void (c.at += ms)) };
  return c;
}

t.test('a wait goes on for as long as there is progress, however slow', async (t) => {
  const c = clock();
  const started = c.at;
  let step = 0;
  const look = (): Promise<string | null> => {
    step = Math.floor((c.at - started) / 900);
    return Promise.resolve(step >= 100 ? null : `guest${step} sets itself up`);
  };
  await untilNothingLeft(look, { standMs: 1000, ...c });
  t.equal(c.at, 90_000, 'ninety times the bound');
});

t.test('what stands still ends the wait, and the error says who and where', async (t) => {
  const c = clock();
  const look = (): Promise<string> =>
    Promise.resolve(c.at < 5000 ? `guest1: connects; guest2: ${c.at}` : 'guest2: has connected, and sets itself up');
  await t.rejects(untilNothingLeft(look, { standMs: 3000, everyMs: 100, ...c }), {
    message: 'no progress for 3 s: guest2: has connected, and sets itself up',
  });
  t.equal(c.at, 8100);
});

t.test('what goes to and fro is no progress', async (t) => {
  const c = clock();
  let turns = 0;
  const look = (): Promise<string> => Promise.resolve(turns++ % 2 === 0 ? 'vif1.0 closed' : 'vif1.0 initialising');
  await t.rejects(untilNothingLeft(look, { standMs: 2000, ...c }), { message: /^no progress for 2 s: vif1\.0 / });
  t.ok(c.at < 2200);
});

t.test('time in which nobody looked is not held against those that are waited for', async (t) => {
  const c = clock();
  let looks = 0;
  const look = (): Promise<string | null> => {
    // The machine stood still, too: all processes did.
    if (++looks === 3) c.at += 60_000;
    return Promise.resolve(looks > 5 ? null : 'guest1: starts');
  };
  await untilNothingLeft(look, { standMs: 2000, ...c });
  t.equal(looks, 6);
});
