import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import t from 'tap';
import { parse } from 'yaml';
import { isAtLeast, failureOf } from '../../src/compose/deployment.js';
import { LineReader, type MeasureLine } from '../../src/compose/measure.js';
import { UserError } from '../../src/base/errors.js';
import { chooseTarget, parseRemote } from '../../src/cli/remote.js';
import { Client } from '../../src/control/client.js';
import { Cycle } from '../../src/runner/cycle.js';
import { observers } from '../../src/runner/observer.js';
import { configurationNamed } from '@grantline/base';
import { REPOSITORY } from '../../src/testbed/paths.js';

interface Service {
  image: string;
  user?: string;
  group_add?: string[];
  environment?: Record<string, string>;
  ports?: string[];
  networks: string[];
  volumes?: string[];
  read_only?: boolean;
  init?: boolean;
  cap_drop?: string[];
  cap_add?: string[];
  profiles?: string[];
  devices?: string[];
  security_opt?: string[];
  stop_grace_period?: string;
  pids_limit?: number;
  mem_limit?: string;
  depends_on?: unknown;
}

const read = (name: string): string => readFileSync(join(REPOSITORY, name), 'utf8');
const file = parse(read('docker-compose.yml'), { merge: true }) as {
  services: Record<string, Service>;
  volumes: Record<string, { driver_opts?: Record<string, string> } | null>;
  networks: Record<string, { internal?: boolean }>;
};
const services = Object.entries(file.services);
const ours = services.filter(([, s]) => s.image === 'grantline-testbed');

const { isStarted } = (await import(pathToFileURL(join(REPOSITORY, 'tools/started-form.mjs')).href)) as {
  isStarted: (program: string) => boolean;
};

t.test('the image has every package that runs, and every script that the file names is one of theirs', (t) => {
  const image = read('Dockerfile');
  const below = (dir: string): string[] =>
    readdirSync(join(REPOSITORY, dir))
      .map((name) => `${dir}/${name}`)
      .filter((p) => existsSync(join(REPOSITORY, p, 'package.json')));
  for (const dir of [...below('shared'), ...below('services'), 'load', 'dashboards'])
    t.match(image, `COPY ${dir}/package.json ${dir}/\n`, dir);
  const scripts = [...read('docker-compose.yml').matchAll(/\b((?:shared|services|load)\/[\w/.-]+\.m?js)\b/g)];
  t.ok(scripts.length > 5);
  for (const [, script = ''] of scripts) t.ok(isStarted(script) || existsSync(join(REPOSITORY, script)), script);
  t.end();
});

t.test('no container has rights that it does not need, and each has its limits', (t) => {
  t.same(services.map(([name]) => name).sort(), [
    ...['driver-domain', 'experimenter', 'grafana', 'guest', 'guest-tap', 'hypervisor', 'load', 'nic', 'prometheus'],
  ]);
  for (const [name, s] of services) {
    t.match(s, { read_only: true, init: true, cap_drop: ['ALL'], security_opt: ['no-new-privileges:true'] }, name);
    t.equal(s.stop_grace_period, '5s', name);
    t.ok(s.pids_limit && s.mem_limit, `${name} has limits`);
    for (const port of s.ports ?? []) t.match(port, /^127\.0\.0\.1:/, `${name} is published on the loopback only`);
    // What makes a TAP device starts as root, and only with the profile that asks for it; then it drops to the guests' user.
    if (name === 'guest-tap') continue;
    if (name !== 'prometheus') t.match(s.user, /^[1-9]\d*:\d+$/, `${name} is not root`);
  }
  const kernel = file.services['guest-tap'];
  t.match(kernel, {
    profiles: ['tap'],
    cap_add: ['NET_ADMIN', 'SETUID', 'SETGID'],
    devices: ['/dev/net/tun:/dev/net/tun'],
  });
  t.match(kernel.environment, { GRANTLINE_UID: '64901', GRANTLINE_GID: '64901' });
  t.same(
    services.filter(([, s]) => s.cap_add !== undefined).map(([name]) => name),
    ['guest-tap'],
    'nobody else has a right',
  );
  t.match(read('Dockerfile'), /^USER node$/m, 'nor is a container that is started without a user');
  t.end();
});

t.test('both Composes understand the file, and nothing floats', (t) => {
  t.same(
    Object.keys(file).filter((key) => !key.startsWith('x-')),
    ['services', 'networks', 'volumes'],
    'docker-compose 1.29 knows no other top-level keys',
  );
  t.notMatch(read('docker-compose.yml'), /start_interval|deploy:|develop:|container_name|:latest/);
  for (const [name, s] of services) t.ok(ours.some(([n]) => n === name) || /:v?\d+\.\d+\.\d+$/.test(s.image), s.image);
  t.notMatch(read('Dockerfile'), /omit[= ]optional|:latest/, "koffi's binaries are optional dependencies");
  t.equal(
    read('.dockerignore')
      .split('\n')
      .find((line) => line !== '' && !line.startsWith('#')),
    '*',
    'what is not named stays out of the image',
  );
  t.end();
});

t.test('each role has a user of its own, and the groups that its files need', (t) => {
  const roles = new Map(
    file.services['hypervisor'].environment!['GRANTLINE_ROLES'].split(',').map((r) => r.split('=') as [string, string]),
  );
  // The load is the experimenter's other half.
  t.equal(new Set(ours.map(([, s]) => s.user)).size, ours.length - 1);
  t.equal(file.services['load'].user, file.services['experimenter'].user);
  t.same(
    [...file.services['hypervisor'].group_add!].sort(),
    [...roles.values()].sort(),
    'it gives files to all of them',
  );
  const groupOf: Record<string, string> = {
    guest: 'guest',
    nic: 'nic',
    'driver-domain': 'driver-domain',
    experimenter: 'operator',
  };
  for (const [name, role] of Object.entries(groupOf))
    t.equal(file.services[name].user, `${roles.get(role)}:${roles.get(role)}`, name);
  for (const name of Object.keys(groupOf)) t.same(file.services[name].group_add ?? [], [], `${name} needs no other`);
  for (const name of ['guest', 'driver-domain', 'nic'])
    t.match(file.services[name].environment, { GRANTLINE_JOIN: `/run/grantline/join/${name}` });
  for (const [, s] of ours) t.notOk(s.environment?.['GRANTLINE_TOKEN'], "nobody is handed the operator's token");
  t.end();
});

t.test('guests share memory with the others and no network but the watchers’', (t) => {
  t.same(file.services['guest'].networks, ['guests']);
  t.equal(file.networks['guests'].internal, true);
  for (const name of ['hypervisor', 'driver-domain', 'nic', 'grafana'])
    t.same(file.services[name].networks, ['control']);
  t.match(file.volumes['shared']?.driver_opts, { type: 'tmpfs', o: /^size=\d+m,mode=0711,uid=64900,/ });
  t.equal(file.services['hypervisor'].user, '64900:64900');
  t.ok(file.services['experimenter'].volumes?.includes('shared:/run/grantline:ro'));
  t.end();
});

t.test('Prometheus finds the experimenter where it shows what it measures, and any that takes its place', (t) => {
  const { environment, networks } = file.services['experimenter'];
  const { scrape_configs } = parse(read('dashboards/prometheus/prometheus.yml')) as {
    scrape_configs: { job_name: string; static_configs?: { targets: string[] }[] }[];
  };
  const targets = scrape_configs.flatMap((job) => (job.static_configs ?? []).flatMap((given) => given.targets));
  t.same(targets, [`experimenter:${environment!['GRANTLINE_METRICS'].split(':')[1]}`]);
  t.equal(environment!['GRANTLINE_HTTP_NAMES'], 'experimenter');
  t.match(file.services['load'], { environment, networks: { control: { aliases: ['experimenter'] } } });
  t.ok(networks.some((name) => file.services['prometheus'].networks.includes(name)));
  t.match(read('load/src/compose/measure.ts'), /commandOptions: \[[^\]]*'--use-aliases'/);
  t.end();
});

t.test('what Compose says when it fails becomes one line with what to do', (t) => {
  const taken =
    'driver failed programming external connectivity: Bind for 127.0.0.1:9090 failed: port is already allocated';
  t.match(failureOf('docker compose', taken), {
    message: 'port 9090 on 127.0.0.1 is in use - stop what uses it, or set PROMETHEUS_PORT to another',
  });
  t.ok(failureOf('docker compose', taken) instanceof UserError);
  t.match(failureOf('docker-compose', 'Step 1/9\nERROR: pull access denied for x\n'), {
    message: 'docker-compose failed: ERROR: pull access denied for x',
  });
  t.ok(isAtLeast('20.10.24+dfsg1', [20, 10]) && isAtLeast('2.0.0', [1, 29]));
  t.notOk(isAtLeast('1.28.5', [1, 29]) || isAtLeast('19.03.8', [20, 10]));
  t.end();
});

t.test('a comparison’s lines come in pieces, among others’ lines', (t) => {
  const got: MeasureLine[] = [];
  const reader = new LineReader((line) => got.push(line));
  const text = 'Creating x ... done\r\n{"live":"ä"}\r\n{"line":"b"}\n{ no json\n{"error":{"kind":"run","what":"w"}}\n';
  for (const byte of Buffer.from(text)) reader.push(Buffer.from([byte]));
  t.same(got, [{ live: 'ä' }, { line: 'b' }, { error: { kind: 'run', what: 'w' } }]);
  t.end();
});

t.test('a testbed by address needs a good one and a token, and is not also one by directory', (t) => {
  t.equal(parseRemote({}, {}), null);
  const given = parseRemote({ hypervisor: 'http://hypervisor:7600/' }, { GRANTLINE_TOKEN: 'x' });
  t.same([given?.url, given?.token()], ['http://hypervisor:7600', 'x']);
  for (const hypervisor of ['hypervisor:7600', 'ws://h:1', 'http://h/path', 'http://u@h', 'http://'])
    t.throws(() => parseRemote({ hypervisor }, { GRANTLINE_TOKEN: 'x' }), UserError, hypervisor);
  t.throws(() => parseRemote({ hypervisor: 'http://h:1' }, {}), /no operator's token/);
  t.throws(() => parseRemote({ tokenFile: '/x' }, {}), UserError);
  t.throws(() => parseRemote({ hypervisor: 'http://h:1', tokenFile: '/none' }, {})!.token(), /cannot read the token/);
  t.equal(chooseTarget({ compose: true }), 'compose');
  for (const other of [
    { dir: '/x' },
    { hypervisor: 'http://h:1' },
    { listen: 'x:1' },
    { pin: false },
    { placement: 'apart' },
    { page: 'x:1' },
  ])
    t.throws(() => chooseTarget({ compose: true, ...other }), /does not go with --compose/);
  t.throws(() => chooseTarget({ dir: '/x', hypervisor: 'http://h:1' }), UserError);
  t.end();
});

t.test('the cycle says once what it waits for, and tries each time with the token of now', async (t) => {
  const said: string[] = [];
  let looks = 0;
  const domain = (kind: string, domid: number): object => ({
    kind,
    domid,
    name: kind,
    state: 'running',
    http: 'http://127.0.0.1:1',
  });
  const client = (): Client => {
    const n = looks++;
    if (n < 3) throw new UserError('cannot read the token', 'wait');
    if (n === 9) throw new Error('enough');
    const domains = [domain('driver-domain', 1000), ...(n < 6 ? [] : [domain('nic', 1001)])];
    return Object.assign(new Client('http://127.0.0.1:1', ''), { testbed: () => Promise.resolve({ domains }) });
  };
  const cycle = new Cycle({
    ...{ client, guests: null, lookMs: 1, configs: [configurationNamed('optimised')!], observer: observers() },
    plan: {
      ...{ frameSizes: [64], seconds: 1, warmup: 0, linkGbps: null, flowControl: true },
      ...{ direction: 'rx', protocol: 'auto', flows: 1, seed: 1 },
    },
    say: (line) => {
      said.push(line);
      if (line.includes('enough')) end();
    },
  });
  let end = (): void => {};
  const ended = new Promise<void>((resolve) => (end = resolve));
  const step = cycle.step(0);
  await ended;
  t.same(said, [
    'waiting for the testbed (cannot read the token - wait)',
    'waiting for the nic',
    'waiting for a guest',
    'waiting for the testbed (enough)',
  ]);
  await cycle.stop();
  await step;
});
