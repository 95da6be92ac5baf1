import t from 'tap';
import { createServer, type AddressInfo } from 'node:net';
import { request, type IncomingHttpHeaders } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { WebSocket } from 'ws';
import type { BedState, ToBrowser } from '../../page/messages.js';
import { columnsOf, lineRateGbps, measured, rangeOf, topOf } from '../../page/series.js';
import { dropName, duration, whole } from '../../page/format.js';
import { layoutOf, type Box } from '../../page/path-view.js';
import { UserError } from '../../src/base/errors.js';
import { parsePage } from '../../src/cli/options.js';
import { Board, finishedOf, observerKey, remotePage } from '../../src/live/board.js';
import { Browsers, MAX_BROWSERS, MAX_QUEUED_BYTES } from '../../src/live/browsers.js';
import { refuseHost, refuseOrigin } from '@grantline/base';
import { LivePage } from '../../src/live/live-page.js';
import { growth, sampleOf, unannounced } from '../../src/live/rates.js';
import { Watch } from '../../src/live/watch.js';
import { parseRequest } from '../../src/live/schema.js';
import { Client, type DomainInfo } from '../../src/control/client.js';
import type { Progression } from '../../page/messages.js';
import type { RunRecord } from '../../src/runner/record.js';
import type { ServiceSnapshot } from '../../src/control/snapshot.js';

interface Answer {
  status: number;
  headers: IncomingHttpHeaders;
  body: string;
}

/** Not fetch: it does not let the Host header be chosen. */
function get(url: string, headers: Record<string, string> = {}, method = 'GET', body = ''): Promise<Answer> {
  return new Promise((done, fail) => {
    const r = request(url, { method, headers }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (part: string) => (text += part));
      response.on('end', () => done({ status: response.statusCode ?? 0, headers: response.headers, body: text }));
    });
    r.on('error', fail);
    r.end(body);
  });
}

/** A browser that keeps all it hears. */
class Heard {
  readonly socket: WebSocket;
  readonly messages: ToBrowser[] = [];
  status = 0;
  closed: { code: number; reason: string } | null = null;

  constructor(page: string, origin: string | undefined, path = '/live') {
    this.socket = new WebSocket(new URL(path, page.replace('http', 'ws')), origin === undefined ? {} : { origin });
    this.socket.on('error', () => {});
    this.socket.on('unexpected-response', (_request, response) => {
      this.status = response.statusCode ?? 0;
      response.resume();
      this.closed = { code: 0, reason: '' };
    });
    this.socket.on('message', (data: Buffer) => this.messages.push(JSON.parse(data.toString()) as ToBrowser));
    this.socket.on('close', (code, reason) => (this.closed ??= { code, reason: reason.toString() }));
  }

  async until<T>(found: () => T | undefined | null | false): Promise<T> {
    for (let i = 0; i < 500; i++) {
      const it = found();
      if (it) return it;
      await sleep(10);
    }
    throw new Error(`never came; heard ${JSON.stringify(this.messages).slice(0, 500)}`);
  }

  states = (): BedState[] => this.messages.flatMap((m) => (m.type === 'state' || m.type === 'hello' ? [m.state] : []));
}

const open = (mode: 'up' | 'compare' = 'up'): Promise<LivePage> =>
  LivePage.open({ listen: { host: '127.0.0.1', port: 0 }, mode, dir: '/dev/shm/grantline-test-none' });

t.test('only the page itself may connect: Host against rebinding, Origin against other pages', async (t) => {
  const loopback = { bound: '127.0.0.1', names: [] };
  for (const host of ['127.0.0.1:7680', 'localhost:1', '[::1]:7680', 'LOCALHOST', '127.9.9.9'])
    t.equal(refuseHost(host, loopback), null, host);
  for (const host of ['evil.example:7680', '10.0.0.9:7680', undefined, '', 'a b', 'localhost.evil.example'])
    t.type(refuseHost(host, loopback), 'string', String(host));
  t.equal(
    refuseHost('10.0.0.9:7680', { bound: '0.0.0.0', names: [] }),
    null,
    'bound to all: any address of the machine',
  );
  t.type(
    refuseHost('evil.example', { bound: '0.0.0.0', names: [] }),
    'string',
    'but no name that somebody else gave it',
  );
  t.equal(refuseOrigin('http://127.0.0.1:7680', '127.0.0.1:7680', loopback), null);
  for (const origin of ['http://127.0.0.1:7681', 'https://127.0.0.1:7680', 'null', 'http://evil.example'])
    t.type(refuseOrigin(origin, '127.0.0.1:7680', loopback), 'string', String(origin));

  const page = await open();
  t.teardown(() => page.close(''));
  const { host } = new URL(page.url);
  t.equal((await get(page.url, { host: 'evil.example' })).status, 421);
  t.match((await get(page.url, { host: 'evil.example' })).body, /evil\.example.* is not a name of this server/);
  for (const origin of ['http://evil.example', undefined]) {
    const refused = new Heard(page.url, origin);
    await refused.until(() => refused.closed);
    t.equal(refused.status, 403, String(origin));
  }
  const astray = new Heard(page.url, `http://${host}`, '/other');
  await astray.until(() => astray.closed);
  t.equal(astray.status, 404);
  for (const upgrade of ['h2c', 'TLS/1.0'])
    for (const method of ['GET', 'HEAD']) {
      const ignored = await get(page.url, { connection: 'Upgrade, HTTP2-Settings', upgrade }, method);
      t.equal(ignored.status, 200, `an offer of ${upgrade} is ignored`);
    }
});

t.test(
  'under a name that was given the page opens, also behind a proxy that speaks TLS, and under no other',
  async (t) => {
    const page = await LivePage.open({
      ...{ listen: { host: '127.0.0.1', port: 0 }, mode: 'up', dir: '/dev/shm/grantline-test-none' },
      names: ['lab1.corp.example', 'lab2.corp.example:8443'],
    });
    t.teardown(() => page.close(''));
    const { host } = new URL(page.url);
    for (const name of ['lab1.corp.example:7680', 'lab1.corp.example', 'LAB2.corp.example:8443'])
      t.equal((await get(page.url, { host: name })).status, 200, name);
    for (const name of ['corp.example', 'x.lab1.corp.example', 'lab1.corp.example.evil'])
      t.equal((await get(page.url, { host: name })).status, 421, name);
    for (const origin of ['https://lab1.corp.example', 'https://lab2.corp.example:8443']) {
      const heard = new Heard(page.url, origin);
      await heard.until(() => heard.messages.length);
      heard.socket.terminate();
    }
    for (const origin of [
      'https://lab1.corp.example:8443',
      'https://lab2.corp.example',
      'http://lab1.corp.example',
      `https://${host}`,
    ]) {
      const refused = new Heard(page.url, origin);
      await refused.until(() => refused.closed);
      t.equal(refused.status, 403, origin);
    }
  },
);

t.test('files come with a policy that allows no inline script or style, and nothing else can be had', async (t) => {
  const page = await open();
  t.teardown(() => page.close(''));
  const { headers, body } = await get(page.url);
  const policy = String(headers['content-security-policy']);
  t.match(policy, /default-src 'none'.*script-src 'self';style-src 'self'/);
  t.notMatch(policy, /unsafe|data:|\*|http:/);
  t.equal(headers['x-content-type-options'], 'nosniff');
  t.equal(headers['strict-transport-security'], undefined, 'plain HTTP on the machine itself');
  t.notMatch(body, /<script>|style=|onclick|https?:\/\//, 'nothing inline, nothing from elsewhere');
  for (const [, path] of body.matchAll(/(?:href|src)="(\/[^"]*)"/g)) {
    const file = await get(new URL(path, page.url).href);
    t.equal(file.status, 200, path);
    for (const [, name] of file.body.matchAll(/from '\.\/([\w.-]+)'/g))
      t.equal((await get(`${page.url}page/${name}`)).status, 200, `import of ${name}`);
  }
  for (const path of ['page/%2e%2e/src/cli/main.js', 'page/main.d.ts', 'tsconfig.json', 'messages.ts', 'live'])
    t.equal((await get(page.url + path)).status, 404, path);
});

t.test('every message of a browser is judged by a schema and refused with the reason', async (t) => {
  const apply = { id: 1, op: 'apply', config: 'optimised', guests: 2, frameBytes: 1514, linkGbps: null };
  t.same(parseRequest(JSON.stringify(apply)), { ok: true, request: apply });
  t.equal(parseRequest('{"id":3,"op":"start"}').ok, true);
  const bad: [unknown, RegExp][] = [
    ['{', /not JSON/],
    [{ op: 'start' }, /needs an id/],
    [{ id: 1, op: 'rm' }, /apply, start or stop/],
    [{ ...apply, config: 'turbo' }, /one of baseline, multiqueue/],
    [{ ...apply, guests: 33 }, /from 1 to 32/],
    [{ ...apply, guests: null }, /from 1 to 32/],
    [{ ...apply, frameBytes: 59 }, /from 60 to 9014/],
    [{ ...apply, frameBytes: '1514' }, /from 60 to 9014/],
    [{ ...apply, linkGbps: 3 }, /1, 10, 25, 40, 100/],
    [{ id: 1, op: 'apply', config: 'native' }, /guests must be/],
    [{ id: 1, op: 'stop', force: true }, /no field "force"/],
    [{ id: 1, op: 'capture', vif: 'eth0', hop: 'all' }, /vif must be named/],
    [{ id: 1, op: 'capture', vif: 'vif1.0', hop: 'wire' }, /hop must be one of all, nic, bridge, guest/],
    [[], /needs an id/],
  ];
  for (const [value, reason] of bad) {
    const parsed = parseRequest(typeof value === 'string' ? value : JSON.stringify(value));
    t.notOk(parsed.ok);
    t.match(parsed.ok ? '' : parsed.reason, reason);
  }
  const page = await open();
  t.teardown(() => page.close(''));
  const heard = new Heard(page.url, new URL(page.url).origin);
  await heard.until(() => heard.messages.length);
  t.equal(heard.messages[0].type, 'hello');
  heard.socket.send('{"id":4,"op":"apply","config":"native","guests":0}');
  heard.socket.send('{"id":5,"op":"start"}');
  await heard.until(() => heard.messages.filter((m) => m.type === 'answer').length === 2);
  t.match(
    heard.messages.filter((m) => m.type === 'answer'),
    [
      { id: 4, ok: false, message: /guests must be/ },
      { id: 5, ok: false, message: /starting/ },
    ],
  );
  heard.socket.send('x'.repeat(5000));
  await heard.until(() => heard.closed);
  t.equal(heard.closed?.code, 1009, 'a message that is too long ends the connection');
  const noisy = new Heard(page.url, new URL(page.url).origin);
  await noisy.until(() => noisy.messages.length);
  for (let i = 0; i < 30; i++) noisy.socket.send('nonsense');
  await noisy.until(() => noisy.closed);
  t.equal(noisy.closed?.code, 1008);
});

t.test(
  'a slow browser misses samples and then gets the state, a vanished one is forgotten, too many are refused',
  async (t) => {
    class FakeSocket {
      bufferedAmount = 0;
      readyState: WebSocket['readyState'] = WebSocket.OPEN;
      readonly sent: string[] = [];
      ended = '';
      private readonly listeners = new Map<string, () => void>();
      send = (text: string): void => void this.sent.push((JSON.parse(text) as ToBrowser).type);
      ping = (): void => {};
      close = (code?: number): void => void (this.ended ||= `close ${code ?? ''}`);
      terminate = (): void => {
        this.ended = 'terminated';
        this.listeners.get('close')?.();
      };
      on(name: string, listener: () => void): this {
        this.listeners.set(name, listener);
        return this;
      }
    }
    const counts: number[] = [];
    const state = { type: 'state', state: {} } as ToBrowser;
    const browsers = new Browsers(
      {
        hello: () => ({ type: 'hello' }) as ToBrowser,
        state: () => state,
        request: () => Promise.resolve(''),
        count: (n) => counts.push(n),
      },
      20,
    );
    t.teardown(() => browsers.end(''));
    const add = (): FakeSocket => {
      const socket = new FakeSocket();
      browsers.add(socket as unknown as WebSocket);
      return socket;
    };
    const slow = add();
    const sample = { type: 'sample' } as ToBrowser;
    slow.bufferedAmount = MAX_QUEUED_BYTES + 1;
    browsers.broadcast(sample);
    browsers.broadcast(state);
    t.same(slow.sent, ['hello'], 'nothing is queued for it');
    slow.bufferedAmount = 0;
    browsers.broadcast(sample);
    t.same(slow.sent, ['hello', 'state', 'sample'], 'it gets the state that it missed');
    const others = Array.from({ length: MAX_BROWSERS - 1 }, add);
    t.equal(add().ended, 'close 1013', 'one too many');
    t.equal(browsers.size, MAX_BROWSERS);
    for (let i = 0; i < 200 && browsers.size > 0; i++) await sleep(10);
    t.equal(browsers.size, 0, 'none answered a ping');
    t.equal(others[0]?.ended, 'terminated');
    t.equal(counts.at(-1), 0);
  },
);

const progression: Progression = {
  ...{
    run: 'r1',
    config: 'optimised',
    direction: 'rx',
    round: 0,
    phase: 'measure',
    frameBytes: 1514,
    guests: 1,
    linkGbps: null,
  },
};
function record(config: string, gbps: number, round = 0): RunRecord {
  return {
    ...{ config, direction: 'rx' as const, round, guests: 1, frameBytes: 1514, seconds: 1 },
    factors: {
      path: 'split',
      nicQueues: 'single',
      grants: 'per-frame',
      bufferBytes: 4096,
      lro: false,
      batching: false,
      tso: false,
    },
    offered: { framesPerSecond: gbps * 1e5, gbps },
    delivered: { frames: 1e5, bytes: 1e8, framesPerSecond: gbps * 1e5, gbps },
    ...{ deliveredBy: {}, sent: 100, received: 100, lost: 0, duplicate: 0, reordered: 0, corrupt: 0, drops: {} },
    conservation: 'ok',
    cpuNsPerFrame: {
      ...{ nic: 1, driverDomain: 2.25, hypervisor: 3, guest: 4, total: 9.25 },
      ...{ components: { 'guest.stack': 1 / 3 }, hypervisorByCaller: {} },
    },
    ...{ stealShare: 0, pausedShare: 0, cpuShare: {}, cpuAccounted: {}, cpuAccountedOk: true },
    perFrame: {
      ...{ grantOps: 1, hypercalls: 0.1, copies: 2, copiedBytes: 3000, notifications: 0, suppressed: 1, wakeups: 0 },
      copiesBy: { hypervisor: 1, driverDomain: 0, application: 1 },
    },
    ...{ latencyUs: null, rssBytes: {}, notes: [], raw: { a: [], b: [], c: [] } },
  };
}

t.test('an experiment in another process is shown, and only the operator may report one', async (t) => {
  const page = await open();
  t.teardown(() => page.close(''));
  page.attach({ client: new Client('http://127.0.0.1:1', 'secret'), token: 'secret', keeper: null });
  const heard = new Heard(page.url, new URL(page.url).origin);
  await heard.until(() => heard.messages.length);
  const remote = remotePage(page.url, 'secret');
  await remote.phase(progression);
  await remote.finished('r1', record('optimised', 20));
  await remote.finished('r1', record('baseline', 1 / 3));
  const state = await heard.until(() => heard.states().find((s) => s.finished.length === 2));
  t.match(state.experiment, { run: 'r1', phase: 'measure', linkGbps: null }, 'a null stays a null');
  t.same(
    state.finished.map((f) => [f.config, f.delivered.gbps, f.latencyUs]),
    [
      ['baseline', 1 / 3, null],
      ['optimised', 20, null],
    ],
    'in the order of the ladder, unrounded',
  );
  t.equal(state.finished[0]?.cpuNsPerFrame.components['guest.stack'], 1 / 3);
  await remote.phase({ ...progression, run: 'r2', phase: 'configure' });
  t.same(
    (await heard.until(() => heard.states().find((s) => s.experiment?.run === 'r2'))).finished,
    [],
    'a new run begins',
  );
  await t.rejects(remotePage(page.url, 'guess').phase(progression), /operator token/);
  await t.rejects(remotePage(page.url, '').phase(progression), /operator token/);
  const wrong = { ...progression, phase: 'lunch' };
  const said = await get(
    `${page.url}observer/phase`,
    { 'content-type': 'application/json', authorization: `Bearer ${observerKey('secret')}` },
    'POST',
    JSON.stringify(wrong),
  );
  t.equal(said.status, 400);
  t.match(said.body, /body\/phase/);
});

t.test('the median run is the one that the results file has, and the end is said', async (t) => {
  t.match(finishedOf([record('baseline', 5), record('baseline', 9, 1), record('baseline', 7, 2)]), [
    { runs: 3, round: 2, delivered: { gbps: 7 }, spread: { gbps: { min: 5, max: 9 } } },
  ]);
  const page = await open('compare');
  const heard = new Heard(page.url, new URL(page.url).origin);
  await heard.until(() => heard.messages.length);
  await page.close('The comparison is over.');
  await heard.until(() => heard.closed);
  t.same(heard.messages.at(-1), { type: 'ended', reason: 'The comparison is over.' });
});

t.test('a port in use is one line with what to do; by default another port is taken', async (t) => {
  const other = createServer();
  await new Promise<void>((done) => other.listen(0, '127.0.0.1', done));
  t.teardown(() => other.close());
  const { port } = other.address() as AddressInfo;
  const tried = LivePage.open({ listen: { host: '127.0.0.1', port }, mode: 'up', dir: '/' });
  await t.rejects(
    tried,
    new UserError(
      `port ${port} on 127.0.0.1 is in use`,
      'stop what uses it, choose another with --page HOST:PORT, or do without: --no-page',
    ),
  );
  await t.rejects(
    LivePage.open({ listen: { host: '203.0.113.1', port: 1 }, mode: 'up', dir: '/' }),
    /cannot serve the live page on 203\.0\.113\.1:1/,
  );
  const pages = await Promise.all([1, 2].map(() => LivePage.open({ listen: null, mode: 'up', dir: '/' })));
  t.not(pages[0]?.url, pages[1]?.url);
  for (const page of pages) await page.close('');
  t.same(parsePage(undefined), { at: null, names: [] });
  t.equal(parsePage(false), null);
  t.same(parsePage('[::1]:80', 'a.example,b:81'), { at: { host: '::1', port: 80 }, names: ['a.example', 'b:81'] });
  t.throws(() => parsePage(undefined, 'a b'), /"a b" is no name of a page/);
  t.throws(() => parsePage('7680'), /not HOST:PORT/);
});

const snapshot = (
  atNs: number,
  name: 'nic' | 'guest1' | 'hypervisor',
  blocks: ServiceSnapshot['blocks'],
): ServiceSnapshot => ({
  ...{ name, kind: name === 'guest1' ? 'guest' : name, domid: name === 'guest1' ? 1 : 0, atNs },
  ...{ processCpuNs: 0, dataThreadCpuNs: 0, rssBytes: 0, blocks },
});

t.test('rates are of what grew between two looks; a reset in between is no negative rate, and no throughput', (t) => {
  const app = (frames: number, bytes: number) => ({
    kind: 'app',
    labels: { vif: 'vif1.0' },
    values: { frames, bytes },
  });
  const queue = (drops: number) => ({
    kind: 'nicQueue',
    labels: { queue: 'vif1.0' },
    values: { frames: 0, bytes: 0, dropNoBuffer: drops },
  });
  const cpu = (stack: number, idle: number) => ({ kind: 'cpu', labels: {}, values: { stack, idle } });
  const at = { nowMs: 1, config: 'optimised', native: false, phase: 'measure' as const, direction: 'rx' as const };
  const before = [snapshot(0, 'guest1', [app(100, 1e5), cpu(1e9, 0)]), snapshot(0, 'nic', [queue(5)])];
  const after = [snapshot(5e8, 'guest1', [app(600, 125e6 + 1e5), cpu(1.1e9, 9e8)]), snapshot(5e8, 'nic', [queue(15)])];
  const sample = sampleOf(growth(before, after), after, at);
  t.equal(sample.path.delivered.fps, 1000);
  t.equal(sample.point.g, 2);
  t.same([sample.path.dropRates['nicQueue.dropNoBuffer'], sample.path.drops['nicQueue.dropNoBuffer']], [20, 15]);
  t.match(sample.receivers, [{ name: 'guest1', share: 1, cpu: 0.2, drops: { 'nicQueue.dropNoBuffer': 15 } }]);
  t.equal(sample.cpuNsPerFrame?.['guest.stack'], 2e5);
  const reset = growth(after, [snapshot(1e9, 'guest1', [app(50, 1e4)])]);
  t.ok(reset.reset);
  const emptied = sampleOf(reset, [], at);
  t.equal(emptied.path.delivered.fps, 100, 'what came since the reset');
  t.equal(emptied.point.g, null);
  t.same(sampleOf(growth([], after), after, at).receivers, [], 'a service seen for the first time has no rate');
  t.end();
});

t.test(
  'what guests send is shown as such: out of the cable and not doubled, with the direction beside the name',
  (t) => {
    const block = (kind: string, values: Record<string, number>, labels = {}) => ({ kind, labels, values });
    const at = { nowMs: 1, config: 'baseline', native: false, phase: 'measure' as const, direction: 'rx' as const };
    const zero = (s: ServiceSnapshot): ServiceSnapshot => ({
      ...{ ...s, atNs: 0 },
      blocks: s.blocks.map((b) => ({ ...b, values: Object.fromEntries(Object.keys(b.values).map((k) => [k, 0])) })),
    });
    const nic = snapshot(1e9, 'nic', [
      block('cable', { sentFrames: 0, sentBytes: 0, stationFrames: 3, stationBytes: 180 }),
      block('egress', { frames: 1000, bytes: 125e6 }),
      block('nicTx', { frames: 1000, bytes: 125e6 }, { queue: 'default' }),
      block('app', { frames: 990, bytes: 124e6 }),
      block('net', { tcpIn: 500, tcpInBytes: 5e6, tcpOut: 20, tcpOutBytes: 0 }),
    ]);
    const guest = snapshot(1e9, 'guest1', [
      block('sender', { frames: 2000, bytes: 250e6 }),
      block('net', { tcpIn: 100, tcpInBytes: 1e6, tcpOut: 600, tcpOutBytes: 6e6 }),
    ]);
    const now = [nic, guest];
    const g = growth(now.map(zero), now);
    const sent = sampleOf(g, now, { ...at, direction: 'tx' });
    t.match(sent.point, { d: 'tx', g: 0.992, o: 2 }, 'offered by the guests, delivered at the far end');
    t.match(sent.path, {
      out: true,
      cable: { fps: 1000, gbps: 1 },
      defaultQueue: { fps: 1000 },
      delivered: { fps: 990 },
    });
    t.match(sent.receivers, [{ name: 'guest1', fps: 2000, gbps: 2, share: 1 }]);
    const received = sampleOf(g, now, at);
    t.match(received.path, { out: false, cable: { fps: 3 }, defaultQueue: { fps: 0 }, delivered: { fps: 0 } });
    t.notOk('d' in received.point, 'frames to the guests need no saying');
    const streams = sampleOf(g, now, { ...at, direction: 'tcp-rx' });
    t.match([streams.path.delivered, streams.path.cable], [{ fps: 100, gbps: 0.008 }, { fps: 3 }]);
    const web = sampleOf(g, now, { ...at, direction: 'http' });
    t.match([web.path.delivered.fps, web.receivers[0]?.gbps], [500, 0.048]);
    t.equal(unannounced(g.grown), 'rx');
    t.equal(unannounced([guest]), 'http', 'only stacks take what comes');
    t.end();
  },
);

t.test('the graph: a column for each configuration, gaps where nobody looked, marks that do not flatten it', (t) => {
  const point = (s: number, c: string, g: number, p: 'measure' | 'idle' = 'measure') => ({
    t: s * 1000,
    c,
    p,
    g,
    o: g,
  });
  const points = [point(0, 'baseline', 9), point(100, 'baseline', 1), point(101, 'native', 2), point(110, 'odd', 3)];
  const columns = columnsOf(points, ['baseline', 'native', 'custom'], 60);
  t.same(columns.slice(2), [
    [1, null, null, null],
    [null, 2, null, null],
    [null, null, null, 3],
  ]);
  t.equal(columns[0].length, 4, 'the first is too old, and a gap is put in');
  t.same(rangeOf(columns[0], 60), [100, 130], 'at least half a minute wide');
  t.equal(topOf(columns, [2.9, 10, 98]), 12, 'a mark far above is left out');
  t.same(
    measured([...points, point(120, 'native', 1, 'idle')]).map((m) => m.config),
    ['baseline', 'baseline', 'native', 'odd'],
  );
  t.equal(lineRateGbps(10, 1514, { wireOverheadBytes: 24 }).toFixed(3), '9.844');
  t.same([duration(86.2), duration(1966), duration(704643)], ['86 µs', '1.97 ms', '705 ms']);
  t.equal(dropName('nicQueue.dropDmaRefused'), 'nic queue: DMA refused');
  t.equal(whole(812743.4), '812,743');
  t.end();
});

t.test('the picture of the path fits at every width: no box overlaps another or leaves it', (t) => {
  const overlap = (a: Box, b: Box): boolean => a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h;
  const wrong: string[] = [];
  for (let width = 280; width <= 1400; width += 20) {
    for (const guests of [1, 2, 3, 4]) {
      const layout = layoutOf(width, guests);
      const boxes = [...Object.values(layout.boxes), ...layout.guests];
      const clash = boxes.some((a, i) => boxes.some((b, j) => j > i && overlap(a, b)));
      const out = boxes.some((b) => b.x < 0 || b.y < 0 || b.x + b.w > width || b.y + b.h > layout.height);
      if (clash || out) wrong.push(`${width} px, ${guests} guests`);
    }
  }
  t.same(wrong, []);
  t.end();
});

t.test('the first sample counts from the moment that a browser came, also while it is measured', async (t) => {
  const did: string[] = [];
  let arrive = (): void => {};
  const domain = { domid: 3, kind: 'guest', state: 'running', pid: 7 } as DomainInfo;
  const watch = new Watch(
    {
      testbed: () => Promise.resolve({ dir: '', config: null, generation: 1, domains: [domain] }),
      config: () => Promise.resolve({ generation: 1, factors: null, settled: true, vifs: [] }),
      services: () => Promise.resolve([]),
      counterTicket: () => Promise.reject(new Error('not asked')),
    },
    '/dev/shm/grantline-test-none',
    Object.assign(new Board(true), { experiment: { phase: 'measure' } }),
    () => did.push('sample'),
    () => did.push('seen'),
    {
      openAll: (owners) => {
        did.push(`open ${owners.map((o) => o.name).join(' ')}`);
        return new Promise((done) => (arrive = done));
      },
      read: () => {
        did.push('read');
        const counted = { processCpuNs: 0, dataThreadCpuNs: 0, rssBytes: 0, blocks: [] };
        return [{ name: 'hypervisor', kind: 'hypervisor', domid: 0, atNs: did.length, ...counted }];
      },
      closeAll: () => did.push('close'),
    },
  );
  watch.on = true;
  await watch.look();
  t.same(
    did,
    ['open hypervisor guest3', 'seen'],
    'nothing is read before all counters are there, and nobody waits for them',
  );
  arrive();
  while (did.length < 3) await sleep(1);
  t.same(did.slice(2), ['read'], 'and then at once, not at the next turn of the clock');
  await watch.look();
  t.same(did.slice(3), ['seen'], 'once');
  while (!did.includes('sample')) await sleep(10);
  t.equal(did.filter((d) => d === 'read').length, 2, 'the second reading makes a sample');
  watch.on = false;
  t.equal(did.at(-1), 'close');
});
