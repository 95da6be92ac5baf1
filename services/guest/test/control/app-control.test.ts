/* eslint-disable @typescript-eslint/require-await -- stand-ins for calls that take a while */
import t from 'tap';
import { parseDomId, parseRun } from '@grantline/base';
import type { Apps } from '@grantline/measure';
import { AppControl } from '../../src/control/app-control.js';

const RUN = { id: 'r1', seed: 7, mode: 'verify', frameSizes: [60, 1514], guests: [1, 2] };

function makeControl() {
  const nodes = new Map<string, string>();
  const resets: unknown[] = [];
  let fire = (): void => undefined;
  let ready = true;
  const app = (name: string) => ({ name, reset: (run: unknown) => resets.push([name, run]) });
  const apps = { verify: app('verify'), record: app('record'), off: app('off') } as unknown as Apps;
  const stack = { app: apps.off };
  const control = new AppControl({
    domid: parseDomId(1),
    xenstore: {
      read: async (path) => nodes.get(path) ?? null,
      write: async (path, value) => void nodes.set(path, String(value)),
      watch: async (_path, fn) => {
        fire = () => fn('');
        fire();
        return async () => undefined;
      },
    },
    stack: stack,
    apps,
    own: { mac: '02:00:00:00:00:01', ip: '10.0.0.1' },
    sender: { prepare: (run) => void resets.push(['send', run]) },
    vifReady: () => ready,
    log: { warn: () => undefined },
  });
  const start = async (run: unknown): Promise<void> => {
    nodes.set('/tool/run', JSON.stringify(run));
    fire();
    await new Promise((r) => setImmediate(r));
  };
  return {
    control,
    apps,
    stack,
    resets,
    start,
    setReady: (v: boolean) => (ready = v),
    answered: () => nodes.get('/local/domain/1/data/run-ready'),
  };
}

t.test('a run chooses the application, resets it and is answered', async (t) => {
  const c = makeControl();
  await c.control.begin();
  for (const mode of ['verify', 'record', 'off'] as const) {
    await c.start({ ...RUN, id: mode, mode });
    t.equal(c.stack.app, c.apps[mode] as never);
    t.equal(c.answered(), mode);
  }
  t.same(c.resets[0], ['verify', { seed: 7 }]);
});

t.test('the same run is taken once, and a run for other guests ends the one that there was', async (t) => {
  const c = makeControl();
  await c.control.begin();
  await c.start(RUN);
  await c.start(RUN);
  t.equal(c.resets.length, 1);
  await c.start({ ...RUN, id: 'r2', guests: [2] });
  await c.start({ ...RUN, id: 'r3', guests: [2] });
  t.equal(c.resets.length, 2, 'it is at rest, and stays so');
  t.equal(c.answered(), 'r1');
});

t.test('a guest whose vif is down answers when it is up', async (t) => {
  const c = makeControl();
  await c.control.begin();
  c.setReady(false);
  await c.start(RUN);
  t.equal(c.answered(), undefined);
  c.setReady(true);
  await c.control.announce();
  t.equal(c.answered(), 'r1');
});

t.test('a text that is no run is none', (t) => {
  for (const text of [
    null,
    '',
    'x',
    '1',
    'null',
    '[]',
    '{}',
    JSON.stringify({ ...RUN, mode: 'fast' }),
    JSON.stringify({ ...RUN, guests: ['a'] }),
    JSON.stringify({ ...RUN, frameSizes: [-1] }),
  ])
    t.equal(parseRun(text), null);
  t.same(parseRun(JSON.stringify({ ...RUN, id: 5 }))?.id, '5');
  t.end();
});
