import fc from 'fast-check';
import t from 'tap';
import { XENBUS } from '../../src/abi/xenbus.js';
import { BACK, FRONT, World, type Action } from './world.js';

const CLOSED = String(XENBUS.closed);
const CONNECTED = String(XENBUS.connected);

/** docs/wire/control-plane.md section 7, last paragraph. */
function unsettled(w: World): string[] {
  const g = String(w.generation);
  const native = w.factors.path === 'native';
  const wanted: [string, unknown, unknown][] = [
    ['backend', w.key(BACK, 'state'), native ? CLOSED : CONNECTED],
    ['frontend', w.key(FRONT, 'state'), native ? CLOSED : CONNECTED],
    ['backend ack', w.key(BACK, 'generation-ack'), g],
    ['frontend ack', native || w.key(FRONT, 'generation-ack'), native || g],
    ['netback uses', w.backUses, native ? null : w.factors],
    ['netfront uses', w.frontUses, native ? null : w.factors],
    ['mapped', w.mapped.size, native ? 0 : 1],
    ['granted', w.granted.size, native ? 0 : 1],
    ['error', w.key(BACK, 'error') ?? w.key(FRONT, 'error'), undefined],
  ];
  return wanted
    .filter(([, is, should]) => JSON.stringify(is) !== JSON.stringify(should))
    .map(([what, is]) => `${what} is ${JSON.stringify(is)}`);
}

/** What a property met less often than `least` times: chance decides, and one that meets a case never says nothing of it. */
const rare = (met: Readonly<Record<string, number>>, least: number): string[] =>
  Object.entries(met)
    .filter(([, times]) => times < least)
    .map(([what, times]) => `${what}: ${times}`);

async function settles(seed: number, actions: readonly Action[]): Promise<World> {
  const w = new World(seed, actions);
  await w.run();
  const wrong = [...w.wrong, ...unsettled(w)];
  if (wrong.length > 0) throw new Error(`${wrong.join('; ')}: ${w.describe()}`);
  return w;
}

t.test(
  'whatever the order of the steps of both ends, the last generation settles, and nobody is refused',
  async (t) => {
    const changes = fc.array(fc.constantFrom<Action>('configure', 'configure', 'crash', 'nic-goes', 'gate-shuts'), {
      maxLength: 8,
    });
    const met = { connected: 0, native: 0, overtaken: 0, retried: 0 };
    await fc.assert(
      fc.asyncProperty(fc.integer(), changes, async (seed, actions) => {
        const w = await settles(seed, actions);
        met[w.factors.path === 'native' ? 'native' : 'connected']++;
        if (w.generation > 1) met.overtaken++;
        if (w.refusals.length > 0) met.retried++;
        const refusals = w.refusals.filter((r) => r.includes('reason'));
        if (refusals.length > 0) throw new Error(`refused: ${refusals.join()}`);
      }),
      { numRuns: 400 },
    );
    t.same(rare(met, 20), []);
  },
);

t.test('a generation after faults settles too, and the errors are gone', async (t) => {
  const any = fc.array(
    fc.constantFrom<Action>('configure', 'backend-fault', 'frontend-fault', 'crash', 'nic-goes', 'gate-shuts'),
    { maxLength: 10 },
  );
  const met = { faulted: 0, unharmed: 0 };
  await fc.assert(
    fc.asyncProperty(fc.integer(), any, any, async (seed, before, after) => {
      const w = await settles(seed, [...before, 'configure', ...after.filter((a) => !a.endsWith('fault'))]);
      met[w.faults > 0 ? 'faulted' : 'unharmed']++;
    }),
    { numRuns: 300 },
  );
  t.same(rare(met, 20), []);
});

t.test('after a fault nothing is held half way, and the generation is not tried again', async (t) => {
  const rest = fc.array(fc.constantFrom<Action>('nic-goes', 'gate-shuts'), { maxLength: 2 });
  // The backend's hits a connection less often.
  const fault = fc.constantFrom<Action>('backend-fault', 'backend-fault', 'frontend-fault');
  const met = { backendTold: 0, frontendTold: 0 };
  await fc.assert(
    fc.asyncProperty(fc.integer(), fault, rest, async (seed, last, others) => {
      const w = new World(seed, [...others, last, 'gate-shuts'], true);
      await w.run();
      const wrong = [...w.wrong];
      if (w.faults === 0) return;
      const states = `${w.key(BACK, 'state')}${w.key(FRONT, 'state')}`;
      if (!['66', '26'].includes(states)) wrong.push(`states ${states}`);
      if (w.mapped.size + w.granted.size > 0) wrong.push('something is held');
      if (![BACK, FRONT].some((dir) => w.key(dir, 'error') === 'ring')) wrong.push('nobody says why');
      if (wrong.length > 0) throw new Error(`${wrong.join('; ')}: ${w.describe()}`);
      met[w.key(BACK, 'error') === 'ring' ? 'backendTold' : 'frontendTold']++;
    }),
    { numRuns: 300 },
  );
  t.same(rare(met, 3), []);
});
