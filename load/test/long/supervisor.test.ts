import t from 'tap';
import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Client } from '../../src/control/client.js';
import { checkGuests, openBed } from '../../src/runner/bed.js';
import { serviceProcesses } from '../../src/testbed/proc.js';
import { discover } from '../../src/testbed/discover.js';
import { closedBelow, closedToOthers, inheritedEnv, separateUsers, startAs } from '../../src/testbed/service-env.js';
import { Supervisor } from '../../src/testbed/supervisor.js';
import { edgeDoors } from '../../src/control/load-api.js';
import { Bench, freePort } from '../e2e/kit.js';

t.setTimeout(400_000);

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
  for (const dir of [join(home, 'a'), below]) chmodSync(dir, 0o755);
  t.equal(closedToOthers(below), null);
  chmodSync(home, 0o700);
  t.equal(closedToOthers(below), home);
  t.equal(closedToOthers(join(below, 'not', 'there')), home);
  chmodSync(home, 0o755);
  const file = join(below, 'main.js');
  writeFileSync(file, '', { mode: 0o600 });
  t.equal(closedToOthers(file), file);
  t.equal(closedBelow(home, 9), file, 'a file that was built with another umask');
  chmodSync(file, 0o644);
  t.equal(closedBelow(home, 9), null);
  chmodSync(below, 0o711);
  t.equal(closedBelow(home, 9), below, 'Node lists directories');
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

t.test("a service has nothing of the operator's environment but language, time zone and path", async (t) => {
  t.same(
    inheritedEnv({
      ...{ PATH: '/bin', TZ: 'UTC', LANG: 'C', LC_ALL: 'C', GRANTLINE_LOG: 'info', GRANTLINE_SECRET: 's' },
      ...{
        AWS_SECRET_ACCESS_KEY: 'x',
        LD_PRELOAD: 'x',
        NODE_OPTIONS: 'x',
        SSH_AUTH_SOCK: 'x',
        HOME: '/',
        npm_command: 'x',
      },
    }),
    { PATH: '/bin', TZ: 'UTC', LANG: 'C', LC_ALL: 'C', GRANTLINE_LOG: 'info' },
  );
  const bench = new Bench('environment');
  t.teardown(() => bench.end());
  process.env['AWS_SECRET_ACCESS_KEY'] = 'x-secret-of-the-operator';
  t.teardown(() => delete process.env['AWS_SECRET_ACCESS_KEY']);
  const supervisor = new Supervisor({ dir: bench.dir, guests: 1, use: 'own' });
  t.teardown(() => supervisor.stop());
  await supervisor.start();
  const services = serviceProcesses(bench.dir);
  t.equal(services.length, 4);
  const apart = separateUsers(bench.dir);
  for (const { pid, script } of services) {
    t.notMatch(readFileSync(`/proc/${pid}/environ`, 'utf8'), 'x-secret-of-the-operator', script);
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    const domid = Number(/GRANTLINE_DOMID=(\d+)/.exec(readFileSync(`/proc/${pid}/environ`, 'utf8'))?.[1] ?? 0);
    if (!apart || domid === 0) continue;
    const uid = 64000 + domid;
    t.match(status, new RegExp(`^Uid:\\s${uid}\\s${uid}\\s${uid}\\s${uid}$`, 'm'), `${script} has its own user`);
    t.match(status, /^CapPrm:\s0+$/m);
    if (startAs({ uid, gid: uid, groups: [] }, [process.execPath]) !== null)
      t.match(status, /^NoNewPrivs:\s1$/m, `${script} was that user before it was anything`);
  }
  await supervisor.stop();
});

const asRoot = process.getuid?.() === 0 ? {} : { skip: 'root only' };

t.test('who a domain is to be it is from its first moment', asRoot, (t) => {
  const user = { uid: 64007, gid: 64007, groups: [64000] };
  const command = startAs(user, ['/bin/sh', '-c', 'cat /proc/self/status']);
  if (command !== null) {
    const status = execFileSync(command[0], command.slice(1), { encoding: 'utf8' });
    t.match(status, /^Uid:\s64007\s64007\s64007\s64007$/m);
    t.match(status, /^Gid:\s64007\s64007\s64007\s64007$/m);
    t.match(status, /^Groups:\s64000\s*$/m);
    t.match(status, /^CapEff:\s0+$/m);
  }
  const closed = mkdtempSync(join(tmpdir(), 'grantline-closed-'));
  t.teardown(() => rmSync(closed, { recursive: true, force: true }));
  t.equal(startAs(user, [join(closed, 'node')]), null, 'nobody else can start a program there');
  t.end();
});

t.test('a directory may have any name', async (t) => {
  const bench = new Bench('names');
  t.teardown(() => bench.end());
  const dir = join(bench.home, "my größe: a#b%20c 'd'?");
  const edge = { host: '127.0.0.1', port: await freePort('127.0.0.1') };
  const supervisor = new Supervisor({ dir, guests: 1, use: 'up', edge });
  t.teardown(() => supervisor.stop());
  const client = await supervisor.start();
  t.equal((await client.testbed()).domains.length, 3);
  const nic = (await client.services()).find((s) => s.kind === 'nic')!;
  t.match(
    await edgeDoors(nic),
    [{ domid: 1, address: `127.0.0.1:${edge.port}` }],
    'and the edge the port that was asked for',
  );
  t.equal(serviceProcesses(dir).length, 4);
  t.equal(discover(dir).state, 'alive');
  await supervisor.stop();
  t.notOk(existsSync(dir));
});
