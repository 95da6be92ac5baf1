/** The page's "apply", when a step of it fails: half of what was asked for does not stay. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { CONFIGURATIONS, configurationName, type Factors } from '@grantline/base';
import { Controls } from '../../src/live/controls.js';
import type { Seen } from '../../src/live/watch.js';
import type { Client } from '../../src/control/client.js';

/** A testbed that does as it is told, but for what `fails` names. */
function testbed(t: Test, guests: number, sending = false) {
  const dir = mkdtempSync(join(tmpdir(), 'grantline-controls-'));
  t.teardown(() => rmSync(dir, { recursive: true }));
  const is = {
    guests: Array.from({ length: guests }, (_, i) => i + 1),
    factors: CONFIGURATIONS.baseline,
    load: sending ? 'frames of 1514' : 'none',
    generation: 1,
  };
  const fails = { addGuest: 0, removeGuest: 0, config: '', load: '' };
  const fail = (what: string): never => {
    throw new Error(`${what} failed.`);
  };
  let run = 0;
  const nic = {
    kind: 'nic',
    call: (_path: string, { method, body }: { method: string; body?: { frameBytes: unknown } }) => {
      is.load = 'none';
      if (method === 'POST' && String(body?.frameBytes) === fails.load) fail('load');
      if (method === 'POST') is.load = `frames of ${String(body?.frameBytes)}`;
      return Promise.resolve({});
    },
  };
  const domains = () => is.guests.map((domid) => ({ domid, kind: 'guest', state: 'running', mac: null, ip: null }));
  const client = {
    testbed: () => Promise.resolve({ domains: domains() }),
    services: () => Promise.resolve([nic]),
    config: () =>
      Promise.resolve({ factors: is.factors, generation: is.generation, settled: true, vifs: [] as unknown[] }),
    putConfig: (factors: Factors) => {
      if (configurationName(factors) === fails.config) fail('config');
      is.factors = factors;
      return Promise.resolve({ generation: ++is.generation });
    },
    run: () => Promise.resolve({ run: { id: run }, ready: is.guests }),
    putRun: () => Promise.resolve(void run++),
    resetCounters: () => Promise.resolve(),
  };
  let next = 100;
  const controls = new Controls({
    client: client as unknown as Client,
    dir,
    keeper: {
      addGuest: () => {
        if (--fails.addGuest === 0) fail('guest');
        return Promise.resolve(void is.guests.push(next++));
      },
      removeGuest: (_, domid) => {
        if (--fails.removeGuest === 0) fail('removal');
        is.guests = is.guests.filter((g) => g !== domid);
        return Promise.resolve();
      },
    },
    seen: () => ({ measuring: null, sending: is.load !== 'none', testbed: { domains: domains() } }) as unknown as Seen,
    look: () => Promise.resolve(),
    onChange: () => {},
  });
  const apply = (config: string, n: number, frameBytes = 1000): Promise<string> =>
    controls
      .handle({ id: 1, op: 'apply', config, guests: n, frameBytes, linkGbps: 10 })
      .catch((error: Error) => `failed: ${error.message}`);
  const state = (): unknown => [is.guests.length, configurationName(is.factors), is.load, controls['frameBytes']];
  return { is, fails, apply, state };
}

t.test('what has been asked for is so in the end', async (t) => {
  const { apply, state } = testbed(t, 1, true);
  t.match(await apply('optimised', 3), /^optimised, 3 guests, .*load goes on/);
  t.same(state(), [3, 'optimised', 'frames of 1000', 1000]);
});

t.test('a step that fails is said, and what was done before it is undone: guests, configuration, load', async (t) => {
  const cases: [step: Partial<ReturnType<typeof testbed>['fails']>, guests: number, why: string][] = [
    [{ addGuest: 2 }, 4, 'guest'],
    [{ removeGuest: 1 }, 1, 'removal'],
    [{ config: 'optimised' }, 4, 'config'],
    [{ config: 'optimised' }, 1, 'config'],
    [{ load: '1000' }, 4, 'load'],
  ];
  for (const sending of [true, false])
    for (const [step, guests, why] of cases) {
      if (why === 'load' && !sending) continue;
      const { apply, state, fails } = testbed(t, 2, sending);
      const before = state();
      Object.assign(fails, step);
      t.equal(await apply('optimised', guests), `failed: ${why} failed; all is as it was before.`);
      t.same(state(), before, JSON.stringify(step));
    }
});

t.test('where it cannot be undone, the answer says how it is now', async (t) => {
  const { apply, is, fails, state } = testbed(t, 1, true);
  Object.assign(fails, { load: '1000' });
  const said = apply('optimised', 2);
  // By then the guest has come; it cannot be taken away again.
  Object.assign(fails, { removeGuest: 1 });
  t.equal(
    await said,
    'failed: load failed; going back did not work either (removal failed); now: optimised, 2 guests, load stopped.',
  );
  t.equal(is.load, 'none');
  t.same(state(), [2, 'optimised', 'none', 1000]);
});

t.test('a configuration of factors that has no name is gone back to as well', async (t) => {
  const { apply, is, fails } = testbed(t, 1);
  is.factors = { ...CONFIGURATIONS.baseline, lro: true, grants: 'reuse' };
  const before = is.factors;
  Object.assign(fails, { load: 'x', addGuest: 0 });
  t.match(await apply('optimised', 1), /^optimised/);
  is.factors = before;
  Object.assign(fails, { config: 'optimised' });
  t.match(await apply('optimised', 2), /as it was before/);
  t.same(is.factors, before);
});
