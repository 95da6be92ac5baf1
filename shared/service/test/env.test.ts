import t from 'tap';
import { parseListen, readEnv } from '../src/env.js';
import { UsageError } from '@grantline/base';

const WHO = { GRANTLINE_DOMID: '3', GRANTLINE_SECRET: 's' };

t.test('without any setting the defaults of one machine hold', (t) => {
  const env = readEnv('guest', WHO);
  const dir = `/dev/shm/grantline-${process.getuid!()}`;
  t.same(env, {
    kind: 'guest',
    dir,
    hypervisor: `ws+unix://${dir}/hypervisor.sock`,
    domid: 3,
    secret: 's',
    join: null,
    token: null,
    http: { host: '127.0.0.1', port: 0 },
    httpNames: [],
    uid: null,
    gid: null,
    groups: [],
    log: 'info',
    core: null,
    nativeCore: null,
    sharers: 1,
    roles: null,
    reclaim: false,
    lifeline: false,
    hypercalls: 'ring',
    farEnd: { kind: 'stack' },
    tap: null,
    tapOffload: true,
    edge: { host: '127.0.0.1', port: 0 },
  });
  t.same(readEnv('hypervisor', {}).http, { host: '127.0.0.1', port: 7600 });
  t.end();
});

t.test('every variable is read, numbers as numbers', (t) => {
  const env = readEnv('nic', {
    GRANTLINE_DIR: '/dev/shm/x/',
    GRANTLINE_HYPERVISOR: 'ws://hypervisor:7600/',
    GRANTLINE_JOIN: '/dev/shm/x/join/nic',
    GRANTLINE_TOKEN: 't',
    GRANTLINE_HTTP: '[::1]:81',
    GRANTLINE_HTTP_NAMES: 'nic,lab.example:8443',
    GRANTLINE_UID: '65001',
    GRANTLINE_GID: '65002',
    GRANTLINE_GROUPS: '64000,5',
    GRANTLINE_LOG: 'debug',
    GRANTLINE_CORE: '1',
    GRANTLINE_SHARERS: '34',
    GRANTLINE_ROLES: 'guest=1,driver-domain=2,nic=3,operator=4',
    GRANTLINE_RECLAIM: '1',
    GRANTLINE_LIFELINE: 'stdin',
    GRANTLINE_HYPERCALLS: 'messages',
    GRANTLINE_FAR_END: 'tap:tap7,lab',
    GRANTLINE_EDGE: '127.0.0.1:8000',
  });
  t.same(env, {
    kind: 'nic',
    dir: '/dev/shm/x',
    hypervisor: 'ws://hypervisor:7600',
    domid: null,
    secret: null,
    join: '/dev/shm/x/join/nic',
    token: 't',
    http: { host: '::1', port: 81 },
    httpNames: ['nic', 'lab.example:8443'],
    uid: 65001,
    gid: 65002,
    groups: [64000, 5],
    log: 'debug',
    core: 1,
    nativeCore: null,
    sharers: 34,
    roles: { guest: 1, 'driver-domain': 2, nic: 3, operator: 4 },
    reclaim: true,
    lifeline: true,
    hypercalls: 'messages',
    tap: null,
    tapOffload: true,
    farEnd: { kind: 'tap', name: 'tap7', netns: 'lab' },
    edge: { host: '127.0.0.1', port: 8000 },
  });
  t.end();
});

t.test('a TAP device may be in a namespace that is given by its path or by a process', (t) => {
  for (const netns of ['/proc/1/ns/net', 'pid:4711', 'lab']) {
    t.same(readEnv('nic', { ...WHO, GRANTLINE_FAR_END: `tap:gl0,${netns}` }).farEnd, {
      kind: 'tap',
      name: 'gl0',
      netns,
    });
    t.same(readEnv('guest', { ...WHO, GRANTLINE_TAP: `gl0,${netns}` }).tap, { name: 'gl0', netns });
  }
  for (const place of ['gl0,', 'gl0,../x', 'gl0,pid:', 'gl0,x/y', 'gl0,a,b', '..']) {
    t.throws(() => readEnv('nic', { ...WHO, GRANTLINE_FAR_END: `tap:${place}` }), /GRANTLINE_FAR_END/, place);
    t.throws(() => readEnv('guest', { ...WHO, GRANTLINE_TAP: place }), /GRANTLINE_TAP/, place);
  }
  t.end();
});

t.test('an empty variable counts as not set', (t) => {
  t.equal(readEnv('guest', { ...WHO, GRANTLINE_LOG: '', GRANTLINE_CORE: '', GRANTLINE_UID: '' }).log, 'info');
  t.end();
});

t.test('a bad value is a usage error of one line that names the variable', (t) => {
  const bad: Record<string, string> = {
    GRANTLINE_DIR: 'relative/path',
    GRANTLINE_HYPERVISOR: 'http://x:1',
    GRANTLINE_DOMID: '32752',
    GRANTLINE_HTTP: '127.0.0.1:65536',
    GRANTLINE_UID: 'root',
    GRANTLINE_GID: '-1',
    GRANTLINE_GROUPS: '1,,2',
    GRANTLINE_LOG: 'loud',
    GRANTLINE_CORE: '1.5',
    GRANTLINE_JOIN: 'join/guest',
    GRANTLINE_ROLES: 'guest=1,driver-domain=2,nic=3,operator=3',
    GRANTLINE_RECLAIM: 'yes',
    GRANTLINE_LIFELINE: 'stdout',
    GRANTLINE_HYPERCALLS: 'socket',
    GRANTLINE_FAR_END: 'tap:',
    GRANTLINE_EDGE: '127.0.0.1:65536',
  };
  for (const [name, value] of Object.entries(bad)) {
    try {
      readEnv('guest', { ...WHO, [name]: value });
      t.fail(`${name}=${value} was taken`);
    } catch (err) {
      t.ok(err instanceof UsageError, name);
      t.match((err as Error).message, `${name}=${value} is not valid: it must be`);
      t.notMatch((err as Error).message, /\n/);
    }
  }
  t.end();
});

t.test('a directory in which the socket could not be reached is refused', (t) => {
  const longest = `/dev/shm/${'a'.repeat(82)}`;
  t.equal(readEnv('hypervisor', { GRANTLINE_DIR: longest }).dir, longest);
  t.throws(() => readEnv('hypervisor', { GRANTLINE_DIR: `${longest}a` }), UsageError);
  t.end();
});

t.test('a domain needs number and secret together, or the place of a join token', (t) => {
  t.throws(() => readEnv('guest', {}), UsageError);
  t.throws(() => readEnv('guest', { GRANTLINE_DOMID: '3' }), UsageError);
  t.throws(() => readEnv('guest', { GRANTLINE_SECRET: 's', GRANTLINE_JOIN: '/j' }), UsageError);
  t.throws(() => readEnv('guest', { ...WHO, GRANTLINE_JOIN: '/j' }), UsageError);
  t.throws(
    () => readEnv('guest', { GRANTLINE_TOKEN: 't' }),
    UsageError,
    "a service has no use for the operator's token",
  );
  t.equal(readEnv('guest', { GRANTLINE_JOIN: '/j' }).domid, null);
  t.end();
});

t.test("an operator's token of less than 128 bits is refused, and not shown", (t) => {
  const given = (n: number): NodeJS.ProcessEnv => ({ GRANTLINE_TOKEN: 'k'.repeat(n) });
  t.throws(() => readEnv('hypervisor', given(21)), {
    name: 'UsageError',
    message: /^GRANTLINE_TOKEN has fewer than 22 /,
  });
  t.equal(readEnv('hypervisor', given(22)).token, 'k'.repeat(22));
  t.end();
});

t.test('an address without a host is refused', (t) => {
  t.throws(() => parseListen(':80'), UsageError);
  t.throws(() => parseListen('80'), UsageError);
  t.end();
});
