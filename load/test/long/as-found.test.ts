import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { Client, ServiceClient } from '../../src/control/client.js';
import { Bench, CAPTURE, eventually, type Running, voided } from '../e2e/kit.js';

t.setTimeout(900_000);

/** GET of a service's page as text, however long a busy machine takes. */
async function get(url: string): Promise<string> {
  const response = await fetch(url, { signal: AbortSignal.timeout(60_000) });
  return `${response.status} ${await response.text()}`;
}

/** All that a testbed offers and that commands could change, in words that do not depend on time. */
async function offered(bench: Bench, doors: readonly string[], page: string): Promise<Record<string, unknown>> {
  const client = bench.client();
  const services = await client.services();
  const [nic, dd] = ['nic', 'driver-domain'].map((kind) => services.find((s) => s.kind === kind)!);
  const guests = services.filter((s) => s.kind === 'guest');
  const json = async (s: ServiceClient, path: string): Promise<unknown> => client.ask(s, path);
  const dump = (await json(nic, '/dump')) as { link: unknown; load: { state: string; kind: string; capture: unknown } };
  const { run } = await client.run();
  const out: Record<string, unknown> = {
    factors: (await client.config()).factors,
    vifs: (await client.config()).vifs.map((v) => `${v.vif} ${v.backend} ${v.frontend} ${v.error}`),
    rates: await client.rates(),
    run: run === null || run.mode === 'off' ? 'off' : { ...run, id: 0 },
    faults: ((await json(nic, '/faults')) as { settings: unknown }).settings,
    link: dump.link,
    load: [dump.load.state, dump.load.kind, dump.load.capture],
    streams: await json(nic, '/streams'),
    requests: ((await json(nic, '/requests')) as { state: string }).state,
    edge: ((await json(nic, '/edge')) as { domid: number; port: number; address: string }[]).map(
      (d) => `${d.domid} ${d.port} ${d.address}`,
    ),
    page: (await get(page)).slice(0, 3),
    phase: await phaseOf(page),
    session: (await client.ask<{ session: unknown }>(services[0], '/api/session')).session,
  };
  for (const s of [...guests, dd]) {
    out[`${s.name} sends`] = await json(s, '/send');
    out[`${s.name} recorded`] = ((await json(s, '/recorded/summary')) as { frames: number }).frames;
  }
  for (const s of services) out[`${s.name} metrics`] = (await get(`${s.http}/metrics`)).slice(0, 3);
  for (const [i, door] of doors.entries()) {
    const answer = await get(door);
    out[`guest${i + 1} over HTTP`] = answer.replace(/"id":"[^"]*"/, '');
  }
  return out;
}

/** As Prometheus is shown it; before anybody has measured no phase is under way. */
async function phaseOf(page: string): Promise<string> {
  return /^grantline_phase_info\{.*phase="(\w+)".*\} 1$/m.exec(await get(`${page}metrics`))?.[1] ?? 'idle';
}

async function idle(client: Client): Promise<boolean> {
  const [hypervisor] = await client.services();
  return (await client.ask<{ session: unknown }>(hypervisor, '/api/session')).session === null;
}

const short = ['--seconds', '0.2', '--warmup', '0'];
const endless = ['--seconds', '600', '--warmup', '0'];
const plain = ['--no-page', '--configs'];

interface Job {
  name: string;
  /** How it ends by itself, and with what code. */
  whole: [string[], number];
  /** How it goes on until something ends it; none: it is over too soon for that. */
  long?: string[];
}

const compare = (name: string, more: string[], code = 0, configs = 'optimised'): Job => ({
  name,
  whole: [['compare', ...plain, configs, ...short, ...more], code],
  long: ['compare', ...plain, configs.split(',').at(-1) ?? '', ...endless, ...more],
});

const JOBS: Job[] = [
  compare('compare', ['--link', '1'], 0, 'optimised,direct,native'),
  compare('compare, both directions', ['--direction', 'both', '--link', '10']),
  compare('compare, transmit', ['--direction', 'tx', '--link', '1']),
  compare('compare, guest to guest', ['--workload', 'guest-to-guest']),
  compare('compare, requests', ['--workload', 'rr', '--inflight', '4', '--rate', '1000', '--beside', 'bulk']),
  compare('compare, streams', ['--workload', 'tcp', '--link', '1']),
  compare('compare with faults', ['--faults', 'loss=0.01,reorder=0.01']),
  compare('compare that fails', ['--faults', 'loss=1'], 1),
  {
    name: 'replay',
    whole: [['replay', CAPTURE, '--pace', 'max', '--guests', '2'], 0],
    long: ['replay', CAPTURE, '--pace', '0.01'],
  },
  {
    name: 'http',
    whole: [['http', '--no-page', '--configs', 'direct', '--scenario', 'json', ...short], 0],
    // Loopback comes first, in each round.
    long: [
      'http',
      '--no-page',
      '--configs',
      'direct',
      '--scenario',
      'json',
      '--seconds',
      '3',
      '--warmup',
      '0',
      '--repeat',
      '20',
    ],
  },
  {
    name: 'cycle',
    whole: [['cycle', '--guests', '3', '--configs', 'no'], 2],
    long: ['cycle', '--configs', 'direct', ...endless],
  },
  {
    name: 'capture',
    whole: [['capture', 'vif1.0', '--out', 'a.pcapng', '--seconds', '0.2'], 0],
    long: ['capture', 'vif1.0', '--out', 'b.pcapng'],
  },
  { name: 'dump', whole: [['dump', 'vif1.0'], 0] },
  { name: 'bad input', whole: [['replay', 'no-capture', '--pace', 'max'], 2] },
];

/** Waits until the command is in the middle of what it does on the testbed. */
async function underWay(bench: Bench, job: Job, running: Running, page: string): Promise<void> {
  const client = bench.client();
  await eventually(`${job.name} is under way: ${running.stderr}${running.stdout}`, async () => {
    if (running.child.exitCode !== null) throw new Error(`it ended: ${running.stderr}${running.stdout}`);
    if (job.name === 'capture') return running.stderr.includes('Ctrl-C') || running.stdout.includes('Ctrl-C');
    if (job.name === 'replay') {
      const nic = (await client.services()).find((s) => s.kind === 'nic')!;
      return (await client.ask<{ state: string }>(nic, '/load')).state === 'running';
    }
    return (await phaseOf(page)) === 'measure';
  });
}

for (const loaded of [false, true])
  t.test(`every command leaves a testbed ${loaded ? 'under load ' : ''}as it found it, however it ends`, async (t) => {
    const bench = new Bench(`as-found${loaded ? '-loaded' : ''}`);
    t.teardown(() => bench.end());
    writeFileSync(join(bench.home, 'no-capture'), 'no capture at all, but a text that is long enough for one');
    const up = bench.start(
      ...['up', '--guests', '2', '--listen', '127.0.0.1:0', '--page', '127.0.0.1:0', '--config', 'multiqueue'],
      ...['--rate', '800Mb/s', '--faults', 'delay=0.001,delay-us=50'],
    );
    await up.until(/Running in/);
    const doors = [...up.stdout.matchAll(/^(http:\/\/\S+) -> guest\d$/gm)].map((m) => m[1]);
    const page = /Live page:? +(http:\/\/\S+)/i.exec(up.stdout)?.[1] ?? '';
    t.equal(doors.length, 2);
    t.not(page, '', up.stdout);
    const client = bench.client();
    if (loaded) {
      // As the live page's button does.
      const { domains } = await client.testbed();
      const guests = domains.filter((d) => d.kind === 'guest').map(({ domid, mac, ip }) => ({ domid, mac, ip }));
      const nic = (await client.services()).find((s) => s.kind === 'nic')!;
      await client.putRun({ id: 1, seed: 1, mode: 'verify', frameSizes: [1514], guests: guests.map((g) => g.domid) });
      const load = { kind: 'generate', run: '1', seed: 1, guests, frameBytes: 1514, protocol: 'udp', flowsPerGuest: 1 };
      await client.ask(nic, '/load', 'POST', { ...load, linkGbps: 1, pause: true });
    }
    await eventually('the vifs are connected', async () => (await client.config()).settled);
    const before = await offered(bench, doors, page);
    t.match(before, { 'guest1 over HTTP': /^200 /, 'guest2 over HTTP': /^200 /, page: '200', phase: 'idle' });

    const same = async (t: Test, what: string): Promise<void> => {
      await eventually(`all is put back after ${what}`, () => idle(client));
      t.same(await offered(bench, doors, page), before, what);
    };
    // Under load a few of them, for the load itself: the rest is the same.
    const jobs = loaded ? JOBS.filter((j) => ['compare', 'replay', 'http'].includes(j.name)) : JOBS;
    for (const [i, job] of jobs.entries())
      await t.test(job.name, async (t) => {
        const [args, code] = job.whole;
        const whole = await bench.run(...args);
        t.equal(voided(whole) ? 0 : whole.code, code, `${whole.stderr}${whole.stdout}`);
        await same(t, 'its own end');
        if (job.long === undefined) return;
        // Each ends by a kill, and by one of the signals that it hears of.
        for (const signal of [(['SIGINT', 'SIGTERM', 'SIGHUP'] as const)[i % 3], 'SIGKILL'] as const) {
          const running = bench.start(...job.long);
          await underWay(bench, job, running, page);
          running.signal(signal);
          await running.ended;
          await same(t, signal);
        }
      });
    t.equal((await bench.run('down')).code, 0);
    t.same(bench.leftovers(), []);
  });
