/** TCP/IP through the whole path: real processes, the outer stack, the edge, the guest's stack. */
import t, { type Test } from 'tap';
import { createHash, randomBytes } from 'node:crypto';
import { mkdirSync, rmSync } from 'node:fs';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ECHO_PORT, WEB_PORT, configurationNamed, parseFaults } from '@grantline/base';
import { type Client, type ServiceClient, configure } from '../../src/control/client.js';
import { edgeDoors } from '../../src/control/load-api.js';
import { openDoor, ping } from './nic-calls.js';
import { setFaults } from '../../src/control/load-api.js';
import { Supervisor } from '../../src/testbed/supervisor.js';
import { exchange } from '../e2e/kit.js';

const home = `/dev/shm/grantline-test-${process.pid}-tcp`;
const FILE = randomBytes(3 << 20);
const bed = new Supervisor({ dir: join(home, 'bed'), guests: 2, use: 'own', logDir: join(home, 'logs') });
let client: Client;
let nic: ServiceClient;
let guest: ServiceClient;
/** host and port of the echo of each guest. */
const echo: { host: string; port: number }[] = [];

// Below the runner's own limit, so that it is told which test hangs, and nothing is left behind.
t.setTimeout(220_000);
t.before(async () => {
  mkdirSync(home, { recursive: true });
  client = await bed.start();
  const services = await client.services();
  nic = services.find((s) => s.kind === 'nic')!;
  guest = services.find((s) => s.name === 'guest1')!;
  for (const domid of [1, 2]) echo.push(placeOf((await openDoor(nic, domid, ECHO_PORT)).address));
});
t.teardown(async () => {
  await bed.stop();
  rmSync(home, { recursive: true, force: true });
});

function placeOf(address: string | null): { host: string; port: number } {
  const [host = '', port = ''] = (address ?? '').split(':');
  return { host, port: Number(port) };
}

const configuration = (name: string): Promise<void> => configure(client, configurationNamed(name)!);
const sha = (b: Buffer): string => createHash('sha256').update(b).digest('hex');

/** Nothing here takes longer than that on any machine: what does hangs, and is to be told. */
const LIMIT_MS = 60_000;

/** Resolves with the error code that ends the socket, or 'end'. */
const fate = (socket: Socket): Promise<string> =>
  new Promise((done) => {
    socket.on('error', (err: NodeJS.ErrnoException) => done(err.code ?? err.message));
    socket.on('end', () => done('end'));
    socket.setTimeout(LIMIT_MS, () => done(`nothing for ${LIMIT_MS / 1000} s`));
    socket.resume();
  });

/** What came back is what was sent; says at which length it is not. */
const same = (t: Pick<Test, 'ok'>, back: Buffer, sent: Buffer): void =>
  void t.ok(
    back.equals(sent),
    `${back.length} bytes of ${sent.length}, ${sha(back).slice(0, 8)} of ${sha(sent).slice(0, 8)}`,
  );

/** A frame may find the interface not up yet. */
async function answered(): Promise<void> {
  const end = performance.now() + LIMIT_MS;
  while ((await ping(nic, '10.77.0.1', 56, 200)) === null) {
    if (performance.now() > end) throw new Error(`guest 1 does not answer within ${LIMIT_MS / 1000} s`);
    await sleep(10);
  }
}

interface Held {
  connections: number;
  timeWait: number;
  timers: number;
  bufferBytes: number;
}
interface Dump {
  net: { held: Held; connections: number };
  memory: { freePages: number; freeGrants: number; quarantinedPages: number };
  farEnd: { held: Held; waitingFrames: number };
}

const dump = (s: ServiceClient): Promise<Dump> => client.ask<Dump>(s, '/dump');

/** What both stacks and the guest hold once nothing is under way. */
async function atRest(
  limitMs = LIMIT_MS,
): Promise<{ guest: Dump['net']; memory: Dump['memory']; outer: Dump['farEnd'] }> {
  const end = performance.now() + limitMs;
  for (;;) {
    const [inner, outer] = await Promise.all([dump(guest), dump(nic)]);
    const found = { guest: inner.net, memory: inner.memory, outer: outer.farEnd };
    const { held } = inner.net;
    const far = outer.farEnd.held;
    const open = held.connections + far.connections + held.bufferBytes + far.bufferBytes + outer.farEnd.waitingFrames;
    if (open === 0 || performance.now() > end) return found;
    await sleep(100);
  }
}

for (const name of ['baseline', 'multiqueue', 'grant-reuse', 'optimised', 'direct']) {
  t.test(`${name}: pings of all sizes are answered, megabytes come back as they were sent`, async (t) => {
    await configuration(name);
    await answered();
    for (const bytes of [0, 56, 1472, 1473, 20_000])
      t.type(await ping(nic, '10.77.0.1', bytes, 20_000), 'number', `ping of ${bytes} bytes`);
    same(t, await exchange(echo[0], FILE), FILE);
  });
}

t.test('each guest has a door of its own, and the web application is behind it', async (t) => {
  await configuration('optimised');
  const doors = (await edgeDoors(nic)).filter((d) => d.port === WEB_PORT);
  t.same(
    doors.map((d) => d.domid),
    [1, 2],
  );
  for (const { address } of doors) {
    const answer = await fetch(`http://${address}/`, { headers: { connection: 'close' } });
    t.equal(answer.status, 200);
    // A body that is not read holds the connection.
    await answer.arrayBuffer();
  }
});

t.test('a connection outlives a change of configuration, with every byte in its place', async (t) => {
  const body = Buffer.concat([FILE, FILE, FILE]);
  const done = exchange(echo[0], body);
  await configuration('baseline');
  await configuration('optimised');
  same(t, await done, body);
});

t.test(
  'over a cable that loses, repeats, swaps and corrupts frames, every byte arrives once and in order',
  async (t) => {
    await configuration('optimised');
    await setFaults(nic, parseFaults('loss=0.01,duplicate=0.01,corrupt=0.01,reorder=0.02,seed=7'));
    try {
      const back = await Promise.all([0, 1, 0, 1].map((guest) => exchange(echo[guest], FILE)));
      for (const b of back) same(t, b, FILE);
      const { counted } = await nic.call<{ counted: Record<'in' | 'out', Record<string, number>> }>('/faults');
      for (const direction of ['in', 'out'] as const)
        for (const kind of ['lost', 'duplicated', 'corrupted', 'reordered'])
          t.ok(counted[direction][kind] > 0, `${direction}: ${kind}`);
    } finally {
      await setFaults(nic, null);
    }
  },
);

t.test('what is no HTTP is refused by the guest, and hurts nobody', async (t) => {
  const [door] = (await edgeDoors(nic)).filter((d) => d.port === WEB_PORT);
  const at = placeOf(door.address);
  for (const text of [
    'GET / HTTP/9.9\r\n\r\n',
    'GET /\0 HTTP/1.1\r\nhost: x\r\n\r\n',
    randomBytes(64).toString('latin1'),
  ])
    t.match((await exchange(at, Buffer.from(text, 'latin1'))).toString('latin1'), /^HTTP\/1\.1 400 /);
  const answer = await fetch(`http://${door.address}/`, { headers: { connection: 'close' } });
  t.equal(answer.status, 200);
  await answer.arrayBuffer();
});

t.test('a port where nobody listens resets the client', async (t) => {
  const at = placeOf((await openDoor(nic, 1, 81)).address);
  t.equal(await fate(connect(at)), 'ECONNRESET');
});

t.test('a peer that never reads holds its sender, and a reset goes through to the other end', async (t) => {
  const socket = connect(echo[0]);
  socket.pause();
  let blocked = false;
  for (let i = 0; i < 256 && !blocked; i++) {
    socket.write(FILE);
    await sleep(20);
    blocked = i > 8 && socket.writableLength > 2 * FILE.length;
  }
  t.ok(blocked, 'what is written waits in the client');
  t.ok((await dump(nic)).farEnd.held.bufferBytes < 8 << 20, 'and not in the stack');
  socket.resetAndDestroy();
  const open = async (): Promise<number[]> =>
    (await Promise.all([dump(guest).then((d) => d.net), dump(nic).then((d) => d.farEnd)])).map(
      ({ held }) => held.connections - held.timeWait,
    );
  const end = performance.now() + LIMIT_MS;
  while ((await open()).some((n) => n > 0) && performance.now() < end) await sleep(20);
  t.same(await open(), [0, 0]);
});

t.test('ten thousand short connections leave nothing behind', async (t) => {
  await exchange(echo[0], Buffer.from('first'));
  const before = await atRest();
  const start = performance.now();
  let left = 10_000;
  let wrong = 0;
  const one = async (): Promise<void> => {
    while (left-- > 0) {
      const text = Buffer.from(`connection ${left}`);
      if (!(await exchange(echo[0], text)).equals(text)) wrong++;
    }
  };
  await Promise.all(Array.from({ length: 100 }, one));
  t.comment(`${((performance.now() - start) / 1000).toFixed(1)} s`);
  t.equal(wrong, 0);
  const after = await atRest();
  t.match(after.outer, { waitingFrames: 0, held: { connections: 0, timeWait: 0, bufferBytes: 0 } });
  t.match(after.guest, { connections: 0, held: { connections: 0, timeWait: 0, bufferBytes: 0 } });
  t.same(after.memory, before.memory);
  t.ok(after.outer.held.timers <= before.outer.held.timers + 1, 'timers');
  t.ok(after.guest.held.timers <= before.guest.held.timers + 1, 'timers of the guest');
});

t.test('a guest that dies resets its clients at once; the other guest goes on', async (t) => {
  const socket = connect(echo[1]);
  await once(socket, 'connect');
  socket.write('hello');
  t.equal(String((await once(socket, 'data'))[0]), 'hello');
  const how = fate(socket);
  const start = performance.now();
  await bed.removeGuest(client, 2);
  t.equal(await how, 'ECONNRESET');
  t.comment(`${(performance.now() - start).toFixed(0)} ms`);
  t.same(
    (await edgeDoors(nic)).map((d) => d.domid),
    [1, 1, 1],
  );
  t.equal(String(await exchange(echo[0], Buffer.from('still here'))), 'still here');
});
