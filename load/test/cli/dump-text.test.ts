import t from 'tap';
import { dumpText } from '../../src/report/dump-text.js';

const node = (value: string, owner: number, children: Record<string, unknown> = {}): unknown => ({
  value,
  owner,
  readers: [1000],
  children,
});

t.test('a dump shows the store as one line for each path', (t) => {
  const text = dumpText({
    vif: 'vif1.0',
    states: {},
    rings: { driverDomain: {}, guest: {}, nic: {} },
    grants: {},
    ports: {},
    xenstore: {
      backend: node('', 1000, { state: node('4', 1000) }),
      frontend: node('', 1, {
        mac: node('00:16:3e:00:00:01', 0),
        'queue-0': node('', 1, { 'rx-ring-ref': node('9', 1) }),
      }),
    },
  });
  const [, backend = '', frontend = ''] = text.split(/xenstore, \w+\n/);
  const rows = (part: string): string[][] =>
    part
      .trim()
      .split('\n')
      .map((line) => line.trim().split(/\s{2,}/));
  t.same(rows(backend), [
    ['path', 'value', 'owner', 'readers'],
    ['state', '4', '1000', '1000'],
  ]);
  t.same(rows(frontend), [
    ['path', 'value', 'owner', 'readers'],
    ['mac', '00:16:3e:00:00:01', '0', '1000'],
    ['queue-0/rx-ring-ref', '9', '1', '1000'],
  ]);
  t.end();
});

t.test('a store that cannot be had is told as it is', (t) => {
  const xenstore = { backend: { error: 'not running' }, frontend: { error: 'gone' } };
  const text = dumpText({
    vif: 'vif1.0',
    states: {},
    rings: { driverDomain: {}, guest: {}, nic: {} },
    grants: {},
    ports: {},
    xenstore,
  });
  t.match(text, /xenstore, backend\n\s+error\s+not running[^]*error\s+gone/);
  t.end();
});
