/** The testbed in containers for real: up, figures, guests added, services restarted and killed, down, nothing left. */
import t, { type Test } from 'tap';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { call } from '../../src/base/http.js';
import { errorsOf, type HttpFile } from '../../src/http/plan.js';
import { eventually, succeeded } from '../e2e/kit.js';
import { ComposeBench, containerProcesses, missing } from './compose-bench.js';

// The runner's patience ends it.
t.setTimeout(0);

t.test('the testbed in containers', { skip: await missing() }, async (t) => {
  const bench = await ComposeBench.make(t);
  t.afterEach(async (child) => {
    if (!child.passing()) await bench.explain(t);
  });
  /** Those of somebody else's stack. */
  const before = containerProcesses();
  for (const [pid, what] of before) t.comment(`was here before: process ${pid}: ${what}`);

  await t.test('a port in use is one line and exit code 2, and nothing is started', async (t) => {
    const server = createServer();
    await new Promise<void>((done) => server.listen(bench.ports.PROMETHEUS_PORT, '127.0.0.1', done));
    const { code, stderr } = await bench.run('up', '--compose');
    server.close();
    t.equal(code, 2, stderr);
    t.match(stderr, /^grantline: port \d+ on 127\.0\.0\.1 is in use - .*PROMETHEUS_PORT.*\n$/);
    t.same(await bench.ids('ps -a'), [], 'containers');
  });

  await t.test('grantline up --compose brings everything up and says where', async (t) => {
    const said = succeeded(await bench.run('up', '--compose', '--guests', '2'));
    for (const port of Object.values(bench.ports)) t.match(said, `http://127.0.0.1:${port}/`);
    await bench.allUp(2);
  });

  await t.test('the experimenter has frames delivered, in one configuration after another', async () => {
    await bench.until('frames', async () => {
      const rates = await bench.query('sum by (domain) (rate(grantline_delivered_frames_total[10s]))');
      return [...rates.values()].some((rate) => rate > 100);
    });
    const result = 'grantline_result_frames_per_second{domain="experimenter"}';
    await bench.until('a figure of a finished configuration', async () => (await bench.query(result)).size > 0);
  });

  await t.test('Grafana answers and has its data source and dashboards', async (t) => {
    t.match(await call('Grafana', `http://127.0.0.1:${bench.ports.GRAFANA_PORT}`, '/api/health'), { database: 'ok' });
    const files = await bench.exec('grafana', 'ls -R /etc/grafana/provisioning /var/lib/grafana/dashboards');
    t.match(files, /\.ya?ml/);
    t.match(files, /\.json/);
  });

  await t.test('a comparison runs in the deployment, and the cycle goes on after it', async (t) => {
    await bench.compare(t, 2, 'baseline,optimised');
    await t.resolves(bench.exec('experimenter', 'true'), 'the experimenter runs');
    // Its container had the experimenter's name meanwhile.
    const seen = 'count by (domain) (last_over_time(grantline_result_frames_per_second{run!~"cycle-.*"}[5m]))';
    t.equal(
      (await bench.query(seen)).get('experimenter'),
      2,
      "Prometheus has seen the comparison's results, no others",
    );
    const cycle = 'grantline_run_info{run=~"cycle-.*"}';
    await bench.until('Prometheus reads the cycle again', async () => (await bench.query(cycle)).size > 0);
  });

  await t.test('http loads the guests in the deployment, and loopback beside them; curl reaches guest 1', async (t) => {
    const json = join(bench.home, 'http.json');
    const brief = ['--scenario', 'json,bytes:64K', '--seconds', '0.5', '--warmup', '0.2', '--json', json];
    const done = await bench.run('http', '--compose', '--configs', 'optimised', ...brief);
    t.ok(done.code === 0 || /void: /.test(done.stderr), `exit code ${done.code}: ${done.stderr}`);
    const { runs } = JSON.parse(readFileSync(json, 'utf8')) as HttpFile;
    t.equal(runs.length, 4);
    for (const { target, scenario, generated } of runs) {
      t.equal(errorsOf(generated.errors), 0, `${target} ${scenario}: no answer is wrong`);
      t.ok(generated.answered > 0, `${target} ${scenario} is answered`);
    }
    // The cycle of configurations has one in which no guest answers.
    await bench.until('guest 1 answers at the published port', async () => {
      const { name } = await call<{ name: string }>('guest', `http://127.0.0.1:${bench.ports.EDGE_PORT}`, '/');
      return name.startsWith('guest');
    });
  });

  await t.test('guests can be added while it runs', async (t) => {
    succeeded(await bench.run('up', '--compose', '--guests', '4'));
    await bench.allUp(4);
    await bench.compare(t, 4, 'grant-reuse');
  });

  await t.test('a container has no rights', (t) => noRights(t, bench));
  await t.test('a guest finds nothing that is not its own', (t) => ownOnly(t, bench));

  await t.test('the driver domain and the NIC come back after a restart, and frames with them', async (t) => {
    for (const service of ['driver-domain', 'nic']) {
      await bench.must(`docker restart -t 5 ${await bench.containerOf(service)}`);
      await bench.settled(`the vifs connect after a restart of ${service}`, 4);
      // Frames of `baseline` come through the default queue, those of `optimised` through each guest's own.
      await bench.compare(t, 4, 'baseline,optimised');
    }
  });

  await t.test('the driver domain may start before the NIC', async (t) => {
    const nic = await bench.containerOf('nic');
    await bench.must(`docker stop -t 5 ${nic}`);
    await bench.must(`docker restart -t 5 ${await bench.containerOf('driver-domain')}`);
    await bench.until('the driver domain joins', async () => {
      const { domains } = await (await bench.operator()).testbed();
      return domains.some((d) => d.kind === 'driver-domain' && d.state === 'running' && d.http !== null);
    });
    await bench.must(`docker start ${nic}`);
    await bench.settled('the vifs connect', 4);
    await bench.compare(t, 4, 'baseline');
  });

  await t.test('a killed hypervisor starts again without what it left, and all domains join anew', async (t) => {
    const container = await bench.containerOf('hypervisor');
    const kill = `for (const p of fs.readdirSync('/proc')) { let c = ''; try { c = fs.readFileSync('/proc/' + p + '/cmdline', 'utf8') } catch {}
      if (Number(p) > 1 && c.startsWith('node\\0services/hypervisor/')) process.kill(Number(p), 'SIGKILL') }`;
    // The container may be gone before the script is.
    await bench.call(`docker exec ${container} node -e`, kill);
    await bench.until('another hypervisor', async () =>
      /^[1-9]\d* true/.test(await bench.must(`docker inspect ${container} -f`, '{{.RestartCount}} {{.State.Running}}')),
    );
    await bench.settled('all domains are back', 4, 90_000);
    await bench.compare(t, 4, 'optimised');
  });

  await t.test('every container of ours ends by itself within its grace', async (t) => {
    const containers = await bench.ids('ps -a');
    t.ok(containers.length > 0, 'there are some');
    await bench.stop();
    for (const id of containers)
      t.notMatch(await bench.must(`docker inspect ${id} -f`, '{{.Name}} {{.State.ExitCode}}'), / 137$/m);
  });

  await t.test('grantline down --compose leaves nothing', async (t) => {
    succeeded(await bench.run('down', '--compose'));
    await bench.nothingLeft(t);
  });

  await t.test('a signal while containers are being made leaves none', (t) =>
    bench.interrupted(t, 'SIGTERM', ['up', '--compose'], async () => (await bench.ids('ps -a')).length > 0),
  );

  const own = 'compare --compose without a stack brings up its own and leaves nothing, also when interrupted';
  await t.test(own, async (t) => {
    for (const laterMs of [0, 3000]) {
      const args = ['compare', '--compose', '--seconds', '30', '--configs', 'optimised'];
      await bench.interrupted(t, 'SIGINT', args, async ({ stderr }) => {
        if (!stderr.includes('Containers ready')) return false;
        await sleep(laterMs);
        return true;
      });
    }
  });

  await t.test('no process outlives its container', async (t) => {
    await bench.clear();
    const left = (): [string, string][] => [...containerProcesses()].filter(([pid]) => !before.has(pid));
    await eventually('all have ended', () => left().length === 0, 500, 10_000).catch(() => {});
    for (const [, what] of left()) {
      const id = /[0-9a-f]{64}$/.exec(what)?.[0] ?? '';
      const format = '{{.Name}} {{json .State}} {{json .Config.Labels}}';
      const { stdout, stderr } = await bench.call(`docker inspect ${id} -f`, format);
      t.comment(`${id.slice(0, 12)}: ${(stdout || stderr).trim()}`);
    }
    t.same(left(), []);
  });
});

async function noRights(t: Test, bench: ComposeBench): Promise<void> {
  const script = `const s = fs.readFileSync('/proc/self/status', 'utf8');
    const tries = (fn) => { try { fn(); return 'ok' } catch (e) { return e.code } };
    console.log(JSON.stringify({ uid: process.getuid(), caps: /CapEff:\\s*(\\S+)/.exec(s)[1], bound: /CapBnd:\\s*(\\S+)/.exec(s)[1],
      nnp: /NoNewPrivs:\\s*(\\d)/.exec(s)[1], root: tries(() => fs.writeFileSync('/grantline/x', '')) }))`;
  for (const service of ['hypervisor', 'driver-domain', 'nic', 'guest', 'experimenter']) {
    const is = await bench.inside<{ uid: number; root: string }>(service, script);
    t.match(is, { caps: /^0+$/, bound: /^0+$/, nnp: '1', root: /^(EROFS|EACCES)$/ }, service);
    t.not(is.uid, 0, `${service} is not root`);
  }
}

async function ownOnly(t: Test, bench: ComposeBench): Promise<void> {
  const script = `const d = '/run/grantline/', net = require('net'), http = require('http');
    const tries = (fn) => { try { fn(); return 'ok' } catch (e) { return e.code } };
    const read = (f) => tries(() => fs.closeSync(fs.openSync(d + f, 'r')));
    const reach = (host) => new Promise((r) => { const s = net.connect({ host, port: 7600, timeout: 3000 }, () => { s.destroy(); r('open') });
      s.on('error', (e) => r(e.code)); s.on('timeout', () => { s.destroy(); r('timeout') }) });
    const api = () => new Promise((r) => http.get({ socketPath: d + 'hypervisor.sock', path: '/api/xenstore' }, (a) => { a.resume(); r(a.statusCode) }).on('error', (e) => r(e.code)));
    (async () => console.log(JSON.stringify({
      list: [d, d + 'join'].map((p) => tries(() => fs.readdirSync(p))),
      closed: ['token', 'join/driver-domain', 'join/nic', 'hypervisor.pid'].map(read),
      ticket: await new Promise((r) => { const s = net.connect(d + 'shared.sock', () => s.write(Buffer.alloc(16))); let n = 0;
        s.on('data', (b) => (n += b.length)); s.on('error', (e) => r(e.code)); s.on('close', () => r(n)) }),
      own: read('join/guest'), net: [await reach('hypervisor'), await reach('nic'), await reach('driver-domain')], api: await api() })))()`;
  const { net, ...files } = await bench.inside<{ net: string[] }>('guest', script);
  const refused = 'EACCES';
  const closed = [refused, refused, refused, refused];
  t.same(files, { list: [refused, refused], closed, ticket: 0, own: 'ok', api: 404 });
  t.notOk(net.includes('open'), `the control network: ${net.join(' ')}`);
  const there = await bench.inside(
    'hypervisor',
    `console.log(JSON.stringify(fs.readdirSync('/run/grantline').sort()))`,
  );
  t.same(there, ['hypervisor.pid', 'hypervisor.sock', 'join', 'shared.sock', 'token']);
}
