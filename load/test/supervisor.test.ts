import t from 'tap';
import { existsSync } from 'node:fs';
import type { Client } from '../src/runner/client.js';
import { serviceProcesses } from '../src/testbed/proc.js';
import { Supervisor } from '../src/testbed/supervisor.js';
import { Bench } from './e2e-kit.js';

t.setTimeout(120_000);

t.test('a testbed that is stopped before it has begun to start makes nothing any more', async (t) => {
  const bench = new Bench('unstarted');
  t.teardown(() => bench.end());
  const supervisor = new Supervisor({ dir: bench.dir, guests: 1, use: 'own' });
  const starting = supervisor.start();
  await supervisor.stop();
  await t.rejects(starting, /is being stopped/);
  t.notOk(existsSync(bench.dir));
});

t.test('a guest that could not be taken away is still looked after', async (t) => {
  const bench = new Bench('kept');
  t.teardown(() => bench.end());
  const supervisor = new Supervisor({ dir: bench.dir, guests: 1, use: 'up' });
  t.teardown(() => supervisor.stop());
  await supervisor.start();
  const refusing = { deleteDomain: () => Promise.reject(new Error('no')) } as unknown as Client;
  await t.rejects(supervisor.removeGuest(refusing, 1), /no/);
  const guest = serviceProcesses(bench.dir).find((p) => p.script.startsWith('services/guest/'))!;
  process.kill(guest.pid, 'SIGKILL');
  t.match(await supervisor.failure, { message: /service guest1 died/ });
  await supervisor.stop();
  t.same(bench.leftovers(), []);
});
