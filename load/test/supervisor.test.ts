import t from 'tap';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Client } from '../src/runner/client.js';
import { checkGuests, openBed } from '../src/runner/run.js';
import { serviceProcesses } from '../src/testbed/proc.js';
import { closedAbove } from '../src/testbed/service-env.js';
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

/** Of a process: see proc_pid_stat(5). */
function groupOf(pid: number): { group: number; session: number } {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const [group, session] = stat
    .slice(stat.lastIndexOf(')') + 4)
    .split(' ')
    .slice(1, 3)
    .map(Number);
  return { group: group, session: session };
}

t.test(
  'services are of one session, so that they can give each other a core, and out of reach of Ctrl-C',
  async (t) => {
    const bench = new Bench('session');
    t.teardown(() => bench.end());
    const supervisor = new Supervisor({ dir: bench.dir, guests: 1, use: 'own' });
    t.teardown(() => supervisor.stop());
    await supervisor.start();
    const own = groupOf(process.pid);
    const services = serviceProcesses(bench.dir);
    t.equal(services.length, 4);
    for (const { pid, script } of services) {
      const { group, session } = groupOf(pid);
      t.equal(session, own.session, `${script}: its yields count among threads of one session only`);
      t.equal(group, pid, `${script}: a terminal signals a process group`);
    }
    await supervisor.stop();
    t.same(bench.leftovers(), []);
  },
);

t.test('domains have users of their own only where these can read the code', (t) => {
  const home = mkdtempSync(join(tmpdir(), 'grantline-closed-'));
  t.teardown(() => rmSync(home, { recursive: true, force: true }));
  const below = join(home, 'a', 'b');
  mkdirSync(below, { recursive: true });
  chmodSync(home, 0o755);
  t.equal(closedAbove(below), null);
  chmodSync(home, 0o700);
  t.equal(closedAbove(below), home);
  t.end();
});

t.test(
  'the end of a guest, also of one that could not be taken away, is told and does not end the testbed of the others',
  async (t) => {
    const bench = new Bench('guest-end');
    t.teardown(() => bench.end());
    const ends: string[] = [];
    let told = (): void => {};
    const heard = new Promise<void>((done) => (told = done));
    const onGuestEnd = (what: string): void => {
      ends.push(what);
      told();
    };
    const supervisor = new Supervisor({ dir: bench.dir, guests: 1, use: 'up', onGuestEnd });
    t.teardown(() => supervisor.stop());
    const client = await supervisor.start();
    const bed = await openBed(client, 1);
    await checkGuests(bed);
    const of = (service: string): number[] =>
      serviceProcesses(bench.dir).flatMap((p) => (p.script.startsWith(`services/${service}/`) ? [p.pid] : []));
    const refusing = { deleteDomain: () => Promise.reject(new Error('no')) } as unknown as Client;
    await t.rejects(supervisor.removeGuest(refusing, 1), /no/);
    process.kill(of('guest')[0], 'SIGKILL');
    await heard;
    t.match(ends, [/^service guest1 died \(signal SIGKILL\)/]);
    while ((await client.testbed()).domains.some((d) => d.kind === 'guest' && d.state === 'running'))
      await new Promise((done) => setTimeout(done, 20));
    await t.rejects(checkGuests(bed), { message: 'guest1 died during the run' });
    await t.rejects(openBed(client, 1), /has 0 guests, 1 are asked for/);
    await supervisor.addGuest(client);
    t.equal(of('guest').length, 1, 'another may come');
    process.kill(of('driver-domain')[0], 'SIGKILL');
    t.match(
      await supervisor.failure,
      { message: /service driver-domain died/ },
      'without that one nobody has anything',
    );
    await supervisor.stop();
    t.same(bench.leftovers(), []);
  },
);
