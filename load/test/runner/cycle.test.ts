import t from 'tap';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { configurationNamed } from '@grantline/base';
import { ServiceClient, type Client } from '../../src/control/client.js';
import { Cycle } from '../../src/runner/cycle.js';
import { observers } from '../../src/runner/observer.js';

/** A testbed as far as a cycle asks for it: the NIC's pages are real, and `at` is called before each answer. */
async function bed(at: (what: string) => Promise<void> | void) {
  const nic = { running: false, started: 0 };
  const server = createServer((req, res) => {
    const answer = async (): Promise<void> => {
      await at(`${req.method} ${req.url}`);
      if (req.method === 'POST') nic.started++;
      if (req.method !== 'GET') nic.running = req.method === 'POST';
      const body = { state: nic.running ? 'running' : 'idle', sentFrames: 0, heldFrames: 0 };
      res.setHeader('content-type', 'application/json').end(JSON.stringify(body));
    };
    req.resume().on('end', () => void answer());
  }).listen(0, '127.0.0.1');
  await new Promise((done) => server.once('listening', done));
  const http = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const kinds = ['driver-domain', 'nic', 'guest'] as const;
  const domains = kinds.map((kind, i) => ({ kind, domid: i + 1, state: 'running', http, mac: 'm', ip: 'i' }));
  let run: { id: number } | null = null;
  const step = async <T>(what: string, value: T): Promise<T> => {
    await at(what);
    return value;
  };
  const client = {
    testbed: () => step('testbed', { domains }),
    services: () =>
      step(
        'services',
        domains.map((d) => new ServiceClient({ ...d, name: d.kind === 'guest' ? 'guest3' : d.kind }, 'k')),
      ),
    putConfig: () => step('putConfig', { generation: 1 }),
    config: () => step('config', { settled: true, generation: 1, vifs: [] }),
    putRun: (wanted: { id: number }) => step('putRun', void (run = wanted)),
    run: () => step('run', { run, ready: [3] }),
    resetCounters: () => step('resetCounters', undefined),
    snapshot: () => step('snapshot', []),
    hold: () => step('hold', { lost: false, end: () => Promise.resolve() }),
  } as unknown as Client;
  return { nic, client, close: () => server.close() };
}

const plan = {
  direction: 'rx' as const,
  frameSizes: [60],
  seconds: 30,
  warmup: 30,
  linkGbps: null,
  flowControl: true,
  protocol: 'udp' as const,
};

for (const when of ['resetCounters', 'POST /load', 'snapshot', 'putConfig'])
  t.test(`a cycle that is stopped at ${when} leaves no load behind`, async (t) => {
    const stopping: Promise<void>[] = [];
    const { nic, client, close } = await bed(async (what) => {
      if (what !== when || stopping.length > 0) return;
      stopping.push(cycle.stop());
      // Time for whatever stop does before it waits: the answer to this comes after.
      await new Promise((done) => setTimeout(done, 50));
    });
    t.teardown(close);
    const said: string[] = [];
    const cycle: Cycle = new Cycle({
      client: () => client,
      configs: [configurationNamed('baseline')!],
      guests: null,
      observer: observers(),
      plan: { ...plan, warmup: when === 'snapshot' ? 0 : 30, flows: 1, seed: 1 },
      say: (line) => void said.push(line),
      lookMs: 5,
    });
    await cycle.run();
    await Promise.all(stopping);
    t.equal(nic.running, false, 'the NIC has no load');
    t.equal(nic.started, when === 'POST /load' || when === 'snapshot' ? 1 : 0);
    t.same(said, []);
  });

t.test('a run that fails leaves no phase behind: nothing is measured until the next', async (t) => {
  const seen: string[] = [];
  let failed = false;
  const { client, close } = await bed((what) => {
    if (what !== 'resetCounters' || failed) return;
    failed = true;
    throw new Error('the hypervisor is gone');
  });
  t.teardown(close);
  const cycle: Cycle = new Cycle({
    client: () => client,
    configs: [configurationNamed('baseline')!],
    guests: null,
    observer: observers({
      phase: ({ phase }) => Promise.resolve(void seen.push(phase)),
      finished: () => Promise.resolve(),
      released: () => void seen.push('released'),
    }),
    plan: { ...plan, flows: 1, seed: 1 },
    say: (line) => {
      seen.push(line);
      void cycle.stop();
    },
    lookMs: 5,
  });
  await cycle.run();
  const at = seen.findIndex((line) => line.includes('the hypervisor is gone'));
  t.ok(at > 1, 'it failed in a phase');
  t.equal(seen[at - 1], 'released');
});
