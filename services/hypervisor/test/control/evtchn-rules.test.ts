import t from 'tap';
import type { DomId, Port } from '@grantline/base';
import { PortTable, EvtchnError } from '../../src/control/port-table.js';

const G1 = 1 as DomId;
const G2 = 2 as DomId;
const DD = 1000 as DomId;
const NIC = 1001 as DomId;
const port = (n: number): Port => n as Port;

function channels(): { ev: PortTable; log: string[]; live: Set<number> } {
  const log: string[] = [];
  const live = new Set<number>([G1, G2, DD, NIC]);
  const ev = new PortTable({
    exists: (domid) => live.has(domid),
    pages: {
      openPage: (low, high) => void log.push(`open ${low}-${high}`),
      closePage: (low, high) => void log.push(`close ${low}-${high}`),
      clearPort: () => {},
      flush: () => {},
      raise: (owner, _peer, p) => void log.push(`raise ${owner}:${p}`),
    },
    onBound: (owner, p, peer, remotePort) => void log.push(`bound ${owner}:${p} to ${peer}:${remotePort}`),
    onUnbound: (owner, p) => void log.push(`unbound ${owner}:${p}`),
  });
  return { ev, log, live };
}

function code(fn: () => unknown): string {
  try {
    fn();
    return 'ok';
  } catch (error) {
    if (error instanceof EvtchnError) return error.code;
    throw error;
  }
}

t.test("a channel from alloc to close: the binder's own port is made pending, the other end is told", (t) => {
  const { ev, log } = channels();
  const a = ev.allocUnbound(G1, DD);
  t.same(ev.status(G1, a), { port: 1, status: 'unbound', remote: DD, remotePort: 0 });
  const b = ev.bindInterdomain(DD, G1, a);
  t.same(ev.status(G1, a), { port: 1, status: 'interdomain', remote: DD, remotePort: b });
  ev.close(DD, b);
  t.equal(ev.status(G1, a).status, 'unbound', 'reserved for the closer');
  t.equal(ev.bindInterdomain(DD, G1, a), b, 'which may bind again');
  ev.close(G1, a);
  ev.close(DD, b);
  t.same(log, [
    'open 1-1000',
    'raise 1000:1',
    'bound 1:1 to 1000:1',
    'unbound 1:1',
    'raise 1000:1',
    'bound 1:1 to 1000:1',
    'unbound 1000:1',
  ]);
  t.end();
});

t.test("H32: somebody else's unbound port, port 0, ports out of range, closed and bound ones cannot be bound", (t) => {
  const { ev } = channels();
  const forDriver = ev.allocUnbound(G1, DD);
  t.equal(
    code(() => ev.bindInterdomain(NIC, G1, forDriver)),
    'EINVAL',
  );
  t.equal(
    code(() => ev.bindInterdomain(DD, G2, forDriver)),
    'EINVAL',
    "not that domain's",
  );
  for (const bad of [0, -1, 2, 1.5, 1023, 1024, 65536, 2 ** 32, NaN])
    t.equal(
      code(() => ev.bindInterdomain(DD, G1, port(bad))),
      'EINVAL',
      String(bad),
    );
  ev.bindInterdomain(DD, G1, forDriver);
  t.equal(
    code(() => ev.bindInterdomain(DD, G1, forDriver)),
    'EINVAL',
    'bound already',
  );
  ev.close(G1, forDriver);
  t.equal(
    code(() => ev.bindInterdomain(DD, G1, forDriver)),
    'EINVAL',
    'closed',
  );
  const again = ev.allocUnbound(G1, NIC);
  t.equal(again, forDriver, 'the number is used again');
  t.equal(
    code(() => ev.bindInterdomain(DD, G1, again)),
    'EINVAL',
    'for another remote',
  );
  t.equal(
    code(() => ev.close(G1, port(0))),
    'EINVAL',
  );
  t.equal(
    code(() => ev.close(G2, again)),
    'EINVAL',
    "somebody else's number is not open here",
  );
  t.equal(
    code(() => ev.status(G1, port(1024))),
    'EINVAL',
  );
  t.end();
});

t.test('there are ports 1 to 1023, then no more; a failed alloc takes nothing', (t) => {
  const { ev } = channels();
  for (let n = 1; n <= 1023; n++) if (ev.allocUnbound(G1, DD) !== n) t.fail(`port ${n}`);
  t.equal(
    code(() => ev.allocUnbound(G1, DD)),
    'ENOSPC',
  );
  t.equal(
    code(() => ev.allocUnbound(G2, DD)),
    'ok',
    'others have their own',
  );
  ev.close(G1, port(77));
  t.equal(ev.allocUnbound(G1, DD), 77);
  t.end();
});

t.test('H35: who opens and closes ports in turn makes one page of it, which goes with the first of the two', (t) => {
  for (const first of [G1, DD]) {
    const { ev, log, live } = channels();
    for (let i = 0; i < 1000; i++) ev.close(G1, ev.allocUnbound(G1, DD));
    t.same(log, ['open 1-1000']);
    live.delete(first);
    ev.closeAll(first);
    t.same(log, ['open 1-1000', 'close 1-1000']);
    live.add(first);
    ev.allocUnbound(G1, DD);
    t.same(log.slice(2), ['open 1-1000'], 'a successor has another');
  }
  t.end();
});

t.test('no channel to a domain that is not there, to oneself, or between guests', (t) => {
  const { ev, live } = channels();
  t.equal(
    code(() => ev.allocUnbound(G1, 7 as DomId)),
    'ESRCH',
  );
  t.equal(
    code(() => ev.allocUnbound(G1, G1)),
    'EINVAL',
  );
  t.equal(
    code(() => ev.allocUnbound(G1, G2)),
    'EPERM',
  );
  live.delete(DD);
  t.equal(
    code(() => ev.allocUnbound(G1, DD)),
    'ESRCH',
  );
  t.equal(
    code(() => ev.bindInterdomain(G1, DD, port(1))),
    'ESRCH',
  );
  t.end();
});

t.test(
  "a dead domain's ports are closed; the other ends stay their owners' to close, and the page goes with the last",
  (t) => {
    const { ev, log, live } = channels();
    const a = ev.allocUnbound(G1, DD);
    const b = ev.bindInterdomain(DD, G1, a);
    ev.allocUnbound(G1, NIC);
    live.delete(G1);
    ev.closeAll(G1);
    t.same(ev.list(G1), []);
    t.equal(ev.status(DD, b).status, 'unbound');
    t.match(log.join(' '), /unbound 1000:1/);
    t.match(log.join(' '), /close 1-1001/);
    t.notMatch(log.join(' '), /close 1-1000/);
    ev.close(DD, b);
    t.match(log.join(' '), /close 1-1000/);
    t.end();
  },
);
