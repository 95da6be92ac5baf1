import t from 'tap';
import type { DomId } from '@grantline/base';
import {
  StoreError,
  QUOTA_DRIVER_NODES,
  QUOTA_DRIVER_WATCHES,
  QUOTA_NODES,
  QUOTA_VALUE_BYTES,
  QUOTA_WATCHES,
} from '../../src/control/store-node.js';
import { XenStore } from '../../src/control/xenstore.js';

const CONTROL = 0 as DomId;
const G1 = 1 as DomId;
const G2 = 2 as DomId;
const DD = 1000 as DomId;
const NIC = 1001 as DomId;

function store(): XenStore {
  const s = new XenStore();
  s.own('/local/domain/1/data', G1, []);
  s.own('/local/domain/1/device/vif/0', G1, [DD]);
  s.own('/local/domain/1000/backend/vif/1/0', DD, [G1]);
  s.write(CONTROL, '/local/domain/1/device/vif/0/mac', '00:16:3e:00:00:01');
  s.write(CONTROL, '/local/domain/1000/backend/vif/1/0/mac', '00:16:3e:00:00:01');
  s.watches.take();
  return s;
}

function code(fn: () => unknown): string {
  try {
    fn();
    return 'ok';
  } catch (error) {
    if (error instanceof StoreError) return error.code;
    throw error;
  }
}
const front = '/local/domain/1/device/vif/0';
const back = '/local/domain/1000/backend/vif/1/0';

t.test('a guest owns its frontend directory, the driver domain reads it, another guest does not', (t) => {
  const s = store();
  s.write(G1, `${front}/state`, '4');
  t.equal(s.read(G1, `${front}/state`), '4');
  t.equal(s.read(DD, `${front}/state`), '4');
  t.equal(
    code(() => s.read(G2, `${front}/state`)),
    'EACCES',
  );
  t.equal(
    code(() => s.directory(G2, front)),
    'EACCES',
  );
  t.equal(
    code(() => s.write(DD, `${front}/state`, '6')),
    'EACCES',
  );
  t.equal(
    code(() => s.write(G2, `${front}/state`, '6')),
    'EACCES',
  );
  t.equal(
    code(() => s.rm(G2, front)),
    'EACCES',
  );
  t.end();
});

t.test("a backend directory is the driver domain's; its guest reads, writes nothing", (t) => {
  const s = store();
  s.write(DD, `${back}/feature-sg`, '1');
  t.equal(s.read(G1, `${back}/feature-sg`), '1');
  t.equal(
    code(() => s.read(G2, `${back}/feature-sg`)),
    'EACCES',
  );
  t.equal(
    code(() => s.write(G1, `${back}/feature-sg`, '0')),
    'EACCES',
  );
  t.equal(
    code(() => s.write(G1, `${back}/rate`, '1,1')),
    'EACCES',
  );
  t.end();
});

t.test("H36: what the toolstack set is not writable or removable for the directory's owner", (t) => {
  const s = store();
  t.equal(s.read(G1, `${front}/mac`), '00:16:3e:00:00:01');
  t.equal(
    code(() => s.write(G1, `${front}/mac`, 'x')),
    'EACCES',
  );
  t.equal(
    code(() => s.rm(G1, `${front}/mac`)),
    'EACCES',
  );
  t.equal(
    code(() => s.rm(G1, front)),
    'EACCES',
    'nor by removing what is above it',
  );
  t.equal(
    code(() => s.rm(G2, `${front}/nothing`)),
    'EACCES',
    'nor is what is not there removed by others',
  );
  t.equal(
    code(() => s.write(DD, `${back}/mac`, 'x')),
    'EACCES',
  );
  t.equal(s.read(DD, `${front}/mac`), '00:16:3e:00:00:01');
  t.end();
});

t.test('a missing node is told only to those who may read where it would be', (t) => {
  const s = store();
  t.equal(
    code(() => s.read(G1, `${front}/nothing`)),
    'ENOENT',
  );
  t.equal(
    code(() => s.read(G2, `${front}/nothing`)),
    'EACCES',
  );
  t.equal(
    code(() => s.rm(G1, `${front}/nothing`)),
    'ok',
    'removing it is fine when its parent is there',
  );
  t.equal(
    code(() => s.rm(G1, `${front}/no/thing`)),
    'ENOENT',
  );
  t.end();
});

t.test('a write makes missing parents with empty values; mkdir leaves what is there', (t) => {
  const s = store();
  s.write(G1, `${front}/queue-0/rx-ring-ref`, '8');
  t.equal(s.read(G1, `${front}/queue-0`), '');
  t.same(s.directory(DD, `${front}/queue-0`), ['rx-ring-ref']);
  s.mkdir(G1, `${front}/queue-0/rx-ring-ref`);
  t.equal(s.read(G1, `${front}/queue-0/rx-ring-ref`), '8');
  t.end();
});

t.test("paths: character set, slashes, length; a relative one is under the caller's own domain", (t) => {
  const s = store();
  for (const bad of [
    '',
    '/a//b',
    '/a/',
    'a/',
    '/a b',
    '/ä',
    '/a\0',
    '@releaseDomain',
    `/${'a'.repeat(3072)}`,
    'a'.repeat(2049),
  ])
    t.equal(
      code(() => s.read(CONTROL, bad)),
      'EINVAL',
      JSON.stringify(bad.slice(0, 20)),
    );
  s.write(G1, 'data/x', '1');
  t.equal(s.read(G1, '/local/domain/1/data/x'), '1');
  t.equal(
    code(() => s.write(G2, 'data/x', '1')),
    'EACCES',
    'which must be its own',
  );
  t.equal(
    code(() => s.rm(CONTROL, '/')),
    'EINVAL',
  );
  t.end();
});

t.test('H35: a guest has quotas of nodes, value bytes and watches; the rest of the store does not notice', (t) => {
  const s = store();
  const before = s.nodesOwnedBy(G1);
  for (let i = before; i < QUOTA_NODES; i++) s.mkdir(G1, `data/n${i}`);
  t.equal(
    code(() => s.mkdir(G1, 'data/over')),
    'ENOSPC',
  );
  s.rm(G1, `data/n${QUOTA_NODES - 1}`);
  t.equal(
    code(() => s.mkdir(G1, 'data/over/deep')),
    'ENOSPC',
    'parents count',
  );
  t.equal(
    code(() => s.mkdir(G1, 'data/over')),
    'ok',
  );
  t.equal(s.nodesOwnedBy(G1), QUOTA_NODES);
  t.equal(
    code(() => s.write(G1, 'data', 'x'.repeat(QUOTA_VALUE_BYTES))),
    'ok',
  );
  t.equal(
    code(() => s.write(G1, 'data', 'x'.repeat(QUOTA_VALUE_BYTES + 1))),
    'E2BIG',
  );
  t.equal(
    code(() => s.write(G1, 'data', 'ä'.repeat(QUOTA_VALUE_BYTES / 2 + 1))),
    'E2BIG',
    'bytes, not characters',
  );
  for (let i = 0; i < QUOTA_WATCHES; i++) s.watch(G1, 'data', `t${i}`);
  t.equal(
    code(() => s.watch(G1, 'data', 'over')),
    'ENOSPC',
  );
  s.unwatch(G1, 'data', 't0');
  t.equal(
    code(() => s.watch(G1, 'data', 'over')),
    'ok',
  );
  t.equal(
    code(() => s.write(DD, `${back}/state`, '2')),
    'ok',
  );
  t.end();
});

t.test('H35: driver domain and nic have quotas too: the hypervisor trusts nobody', (t) => {
  for (const [who, nodes, watches] of [
    [DD, QUOTA_DRIVER_NODES, QUOTA_DRIVER_WATCHES],
    [NIC, QUOTA_NODES, QUOTA_WATCHES],
  ] as const) {
    const s = store();
    s.own(`/local/domain/${who}/data`, who, []);
    const ops = (n: number) => Array.from({ length: n }, (_, i) => ({ op: 'mkdir' as const, path: `data/n${i}` }));
    const own = s.nodesOwnedBy(who);
    t.equal(
      code(() => s.transaction(who, ops(nodes - own + 1))),
      'ENOSPC',
    );
    t.equal(
      code(() => s.transaction(who, ops(nodes - own))),
      'ok',
    );
    for (let i = 0; i < watches; i++) s.watch(who, 'data', `t${i}`);
    t.equal(
      code(() => s.watch(who, 'data', 'over')),
      'ENOSPC',
    );
  }
  t.end();
});

t.test('H35: a transaction cannot get over the quota either', (t) => {
  const s = store();
  const ops = Array.from({ length: QUOTA_NODES + 1 }, (_, i) => ({ op: 'mkdir' as const, path: `data/n${i}` }));
  const before = s.nodesOwnedBy(G1);
  t.equal(
    code(() => s.transaction(G1, ops)),
    'ENOSPC',
  );
  t.equal(s.nodesOwnedBy(G1), before);
  t.same(s.directory(G1, 'data'), []);
  s.mkdir(G1, 'data/kept');
  t.equal(
    code(() => s.transaction(G1, [{ op: 'rm', path: 'data/kept' }, ...ops])),
    'ENOSPC',
  );
  t.equal(s.nodesOwnedBy(G1), before + 1, 'what comes back counts again');
  t.end();
});

t.test('a transaction is all or none, and its watches fire once, afterwards', (t) => {
  const s = store();
  s.watch(DD, front, 'w');
  s.watches.take();
  const good = [
    { op: 'write' as const, path: `${front}/a`, value: '1' },
    { op: 'write' as const, path: `${front}/a`, value: '2' },
    { op: 'rm' as const, path: `${front}/a` },
    { op: 'write' as const, path: `${front}/b`, value: '3' },
  ];
  t.equal(
    code(() => s.transaction(G1, [...good, { op: 'write', path: `${back}/x`, value: '' }])),
    'EACCES',
  );
  t.equal(
    code(() => s.read(G1, `${front}/b`)),
    'ENOENT',
  );
  t.same(s.watches.take(), []);
  s.transaction(G1, good);
  t.same(
    s.watches.take().map((e) => e.path),
    [`${front}/a`, `${front}/b`],
  );
  t.end();
});

t.test('a watch fires at once, then for the node, for what is below, and when what is above is removed', (t) => {
  const s = store();
  s.watch(DD, `${front}/state`, 'w');
  t.same(s.watches.take(), [{ domid: DD, path: `${front}/state`, token: 'w' }]);
  s.write(G1, `${front}/state`, '3');
  s.write(G1, `${front}/state/deep`, '');
  t.same(
    s.watches.take().map((e) => e.path),
    [`${front}/state`, `${front}/state/deep`],
  );
  s.write(G1, `${front}/other`, '');
  t.same(s.watches.take(), []);
  s.rm(CONTROL, '/local/domain/1');
  t.same(
    s.watches.take().map((e) => e.path),
    [`${front}/state`],
    'with the path that is watched',
  );
  s.unwatch(DD, `${front}/state`, 'w');
  s.write(CONTROL, `${front}/state`, '1');
  t.same(s.watches.take(), []);
  t.end();
});

t.test('a watch tells nothing about nodes that the watcher may not read', (t) => {
  const s = store();
  s.watch(G2, '/local', 'w');
  s.watches.take();
  s.write(G1, 'data/secret', '1');
  s.rm(G1, 'data/secret');
  t.same(s.watches.take(), []);
  t.end();
});

t.test(
  "a relative watch is reported with relative paths; the same watch twice is refused; a dead domain's are gone",
  (t) => {
    const s = store();
    s.watch(G1, 'data', 'w');
    s.write(G1, 'data/x', '');
    t.same(
      s.watches.take().map((e) => e.path),
      ['data', 'data/x'],
    );
    t.equal(
      code(() => s.watch(G1, 'data', 'w')),
      'EEXIST',
    );
    t.equal(
      code(() => s.unwatch(G1, 'data', 'other')),
      'ENOENT',
    );
    s.write(G1, 'data/x', '1');
    s.watches.removeAll(G1);
    s.write(G1, 'data/x', '2');
    t.same(s.watches.take(), []);
    t.end();
  },
);

t.test('/tool is readable by all and written by the toolstack only', (t) => {
  const s = new XenStore();
  s.own('/tool', CONTROL, 'all');
  s.write(CONTROL, '/tool/run', '{}');
  t.equal(s.read(G2, '/tool/run'), '{}');
  t.equal(
    code(() => s.write(DD, '/tool/run', '')),
    'EACCES',
  );
  t.end();
});

t.test('H35: what waits to be told to a watcher is bounded, and no change goes untold', (t) => {
  const s = store();
  for (let i = 0; i < QUOTA_WATCHES; i++) s.watch(G1, 'data', `t${i}`);
  s.watch(DD, front, 'w');
  s.watches.take();
  const ops = (dir: string, from: number, count: number) =>
    Array.from({ length: count }, (_, i) => ({ op: 'write' as const, path: `${dir}/n${from + i}`, value: '' }));
  for (let round = 0; round < 30; round++) {
    s.transaction(G1, ops('data', 100 * round, 50));
    s.transaction(G1, ops(front, 100 * round, 50));
    s.rm(G1, 'data/n0');
    for (const op of [...ops('data', 100 * round, 50), ...ops(front, 100 * round, 50)]) s.rm(G1, op.path);
  }
  const events = s.watches.take();
  t.equal(
    events.length,
    QUOTA_WATCHES + 1,
    'one for each watch: with its own path, since too much has changed below it',
  );
  t.same(events.at(-1), { domid: DD, path: front, token: 'w' });
  t.same(events[0], { domid: G1, path: 'data', token: 't0' });
  s.transaction(G1, ops(front, 0, 500));
  t.equal(s.watches.take().length, 500, 'as many as a guest may have nodes are told one by one');
  t.end();
});

t.test('what a watcher is not ready for waits, without repetition, while others are told', (t) => {
  const s = store();
  s.watch(DD, front, 'w');
  s.watch(G1, front, 'own');
  const onlyGuest = (domid: DomId): boolean => domid === G1;
  t.equal(s.watches.take(onlyGuest).length, 1);
  for (let i = 0; i < 5; i++) {
    s.write(G1, `${front}/state`, String(i));
    t.same(
      s.watches.take(onlyGuest).map((e) => e.token),
      ['own'],
    );
  }
  t.ok(s.watches.hasEvents);
  t.same(
    s.watches.take().map((e) => e.path),
    [front, `${front}/state`],
  );
  t.notOk(s.watches.hasEvents);
  t.end();
});
