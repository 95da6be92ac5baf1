/** Services that die and are started again, as containers are: real processes, nothing is configured anew in between. */
import t from 'tap';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { configurationNamed, ECHO_PORT } from '@grantline/base';
import { type Client, type NewDomain, type ServiceClient, configure } from '../../src/control/client.js';
import { openDoor, ping } from './nic-calls.js';
import { serviceProcesses } from '../../src/testbed/proc.js';
import { ServiceProcess } from '../../src/testbed/service-process.js';
import { Supervisor } from '../../src/testbed/supervisor.js';
import { exchange } from '../e2e/kit.js';

const home = `/dev/shm/grantline-test-${process.pid}-restart`;
const dir = join(home, 'bed');
const FILE = randomBytes(1 << 20);
const LIMIT_MS = 60_000;
// Its promise `failure` is nobody's here: that a service died ends a command, not the testbed.
const bed = new Supervisor({ dir, guests: 2, use: 'own', logDir: join(home, 'logs') });
const started: ServiceProcess[] = [];
let client: Client;

// Below the runner's own limit, so that it is told which test hangs, and nothing is left behind.
t.setTimeout(220_000);
t.before(async () => {
  mkdirSync(home, { recursive: true });
  client = await bed.start();
});
t.teardown(async () => {
  await Promise.all(started.map((p) => p.stop(1500)));
  await bed.stop();
  rmSync(home, { recursive: true, force: true });
});

async function until<T>(what: string, look: () => Promise<T | null>): Promise<T> {
  const end = performance.now() + LIMIT_MS;
  for (;;) {
    const found = await look().catch(() => null);
    if (found !== null) return found;
    if (performance.now() > end) throw new Error(`${what}: not within ${LIMIT_MS / 1000} s`);
    await sleep(50);
  }
}

const service = (kind: 'nic' | 'driver-domain' | 'guest'): Promise<ServiceClient> =>
  until(kind, async () => (await client.services()).find((s) => s.kind === kind) ?? null);

/** Kills the service and starts another one in its place. */
async function replace(kind: 'nic' | 'driver-domain'): Promise<void> {
  const { domid } = await service(kind);
  const victim = serviceProcesses(dir).find((p) => p.script.includes(`services/${kind}/`))!;
  process.kill(victim.pid, 'SIGKILL');
  await until(`the ${kind} is dead`, async () => {
    const known = (await client.testbed()).domains.find((d) => d.domid === domid);
    return known === undefined || known.state === 'dead' ? true : null;
  });
  const domain: NewDomain = await until(`a new ${kind}`, () => client.createDomain(kind));
  const env: Record<string, string> = {
    GRANTLINE_DIR: dir,
    GRANTLINE_HYPERVISOR: `ws+unix://${dir}/hypervisor.sock`,
    GRANTLINE_DOMID: String(domain.domid),
    GRANTLINE_SECRET: domain.secret,
  };
  if (process.getuid?.() === 0 && domain.uid !== null && domain.gid !== null)
    Object.assign(env, {
      GRANTLINE_UID: String(domain.uid),
      GRANTLINE_GID: String(domain.gid),
      GRANTLINE_GROUPS: (domain.groups ?? []).join(','),
    });
  started.push(new ServiceProcess({ name: kind, service: kind, logFile: join(home, 'logs', `${kind}-2.log`), env }));
}

/** Through the cable, to a guest and back. */
const answered = (): Promise<number> =>
  until('a guest answers', async () => ping(await service('nic'), '10.77.0.1', 56, 500));

async function echo(): Promise<{ host: string; port: number }> {
  const [host = '', port = ''] = ((await openDoor(await service('nic'), 1, ECHO_PORT)).address ?? '').split(':');
  return { host, port: Number(port) };
}

/** Sends without end, and reads what comes back. @returns how that ends, once some has come back */
async function flood(at: { host: string; port: number }): Promise<{ end: Promise<string> }> {
  const socket = connect({ ...at, allowHalfOpen: true });
  const more = (): void => {
    while (!socket.destroyed && socket.write(FILE));
  };
  const end = new Promise<string>((done) => {
    socket.on('error', (err: NodeJS.ErrnoException) => done(err.code ?? err.message));
    socket.on('end', () => done('end'));
  });
  socket.on('drain', more);
  await once(socket, 'connect');
  more();
  await once(socket, 'data');
  socket.resume();
  return { end };
}

interface Memory {
  freePages: number;
  freeGrants?: number;
  freeWindowSlots?: number;
}

/** What the guest and the driver domain have left. */
const memory = async (): Promise<Memory[]> =>
  Promise.all(
    (['guest', 'driver-domain'] as const).map(
      async (kind) => (await client.ask<{ memory: Memory }>(await service(kind), '/dump')).memory,
    ),
  );

/** The same, once nothing that is under way changes it any more. */
async function memoryAtRest(): Promise<Memory[]> {
  let last = await memory();
  return until('memory is at rest', async () => {
    await sleep(200);
    const now = await memory();
    const still = JSON.stringify(now) === JSON.stringify(last);
    last = now;
    return still ? now : null;
  });
}

async function serves(t: Tap, before: Memory[], what: string): Promise<void> {
  t.type(await answered(), 'number', `${what}: pings`);
  t.ok((await exchange(await echo(), FILE)).equals(FILE), `${what}: TCP, every byte`);
  const after = await until('memory is as it was', async () => {
    const now = await memory();
    return JSON.stringify(now) === JSON.stringify(before) ? now : null;
  }).catch(memory);
  t.same(after, before, `${what}: no page, grant or mapping is lost`);
}

type Tap = Pick<typeof t, 'type' | 'ok' | 'same'>;

for (const name of ['baseline', 'optimised', 'direct'])
  t.test(`${name}: a NIC that dies under traffic is followed by the next one`, async (t) => {
    await configure(client, configurationNamed(name)!);
    await answered();
    await exchange(await echo(), FILE);
    const before = await memoryAtRest();
    // Frames of both directions are under way when it dies; its clients die with it.
    const { end } = await flood(await echo());
    await replace('nic');
    t.match(await end, /^E/, 'an error, not an end');
    await serves(t, before, 'after the NIC');
  });

for (const name of ['baseline', 'optimised'])
  t.test(`${name}: TCP connections outlive a driver domain that dies under traffic`, async (t) => {
    await configure(client, configurationNamed(name)!);
    await answered();
    await exchange(await echo(), FILE);
    const before = await memoryAtRest();
    const body = Buffer.concat(Array.from({ length: 32 }, () => FILE));
    const through = exchange(await echo(), body);
    await sleep(50);
    await replace('driver-domain');
    t.ok((await through).equals(body), 'every byte, by retransmission');
    await serves(t, before, 'after the driver domain');
  });
