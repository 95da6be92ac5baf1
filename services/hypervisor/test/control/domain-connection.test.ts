import { EventEmitter } from 'node:events';
import t from 'tap';
import type { DomId } from '@grantline/base';
import type { WebSocket } from 'ws';
import type { TimeShare } from '../../src/control/accounting.js';
import { DomainConnection } from '../../src/control/domain-connection.js';
import type { HypercallRunner, Reply } from '../../src/control/hypercall-runner.js';

const BACKLOG = 4 << 20;
const REQUEST = Buffer.from('{"id":1,"op":"x"}');

/** A connection whose socket has so many bytes that the domain has not read. @param holds batches wait for the NIC */
function make(waiting = 0, holds = false) {
  const ws = Object.assign(new EventEmitter(), {
    ...{ OPEN: 1, readyState: 1, bufferedAmount: waiting, paused: 0 },
    send: () => {},
    pong: () => {},
    close: () => {},
    terminate: () => void (ws.readyState = 3),
    pause: () => void ws.paused++,
    resume: () => {},
  });
  const reply = { buffer: Buffer.alloc(8), bytes: 8 } as Reply;
  let released: (reply: Reply) => void = () => {};
  let ran = 0;
  const runner = {
    run: (_: DomId, __: Buffer, onReleased: (reply: Reply) => void) => {
      ran++;
      released = onReleased;
      return holds && ran === 1 ? 'held' : reply;
    },
    free: () => {},
  } as unknown as HypercallRunner;
  let slow = 0;
  const world = { request: () => ({}), garbage: () => {}, tooSlow: () => void slow++, closed: () => {} };
  const share = { spent: 0, waitMs: 0, spend: <T>(work: () => T): T => (share.spent++, work()) };
  const one = new DomainConnection(ws as unknown as WebSocket, {
    domid: 1 as DomId,
    runner,
    share: share as unknown as TimeShare,
    ...world,
  });
  const release = (): void => released(reply);
  return { ws, one, share, release, slow: () => slow, ran: () => ran };
}

t.test('H35: a domain that does not read what it is sent is cut off, whatever that is', (t) => {
  const ways: [string, (x: ReturnType<typeof make>) => void][] = [
    ['events', (x) => x.one.sendEvent('{}')],
    ['answers', (x) => void x.ws.emit('message', REQUEST, false)],
    ['replies', (x) => void x.ws.emit('message', Buffer.alloc(8), true)],
    ['pongs', (x) => void x.ws.emit('ping', Buffer.alloc(1))],
  ];
  for (const [what, send] of ways)
    for (const over of [0, 1]) {
      const x = make(BACKLOG + over);
      send(x);
      t.same([x.slow(), x.ws.readyState], over === 0 ? [0, 1] : [1, 3], `${what}, ${over} bytes over`);
    }
  t.equal(make(0).one.keepsUp, true);
  t.equal(make(256 << 10).one.keepsUp, false, 'what can be told later is not sent to it long before');
  t.end();
});

t.test('H35: what waits behind a batch is bounded by number and by bytes', (t) => {
  for (const [bytes, most] of [
    [8, 4096],
    [60_000, Math.floor((8 << 20) / 60_000)],
  ] as const) {
    const x = make(0, true);
    for (let i = 0; i <= most; i++) x.ws.emit('message', Buffer.alloc(bytes), true);
    t.equal(x.slow(), 0, `${most} messages of ${bytes} bytes`);
    x.ws.emit('message', Buffer.alloc(bytes), true);
    t.same([x.slow(), x.ws.readyState], [1, 3], 'and no more');
  }
  t.end();
});

t.test('H35: all that is done for a domain is done in its time; without any left it is not read', (t) => {
  const x = make(0, true);
  x.ws.emit('message', Buffer.alloc(8), true);
  x.ws.emit('message', Buffer.alloc(8), true);
  t.equal(x.share.spent, 2);
  x.release();
  t.same([x.share.spent, x.ran()], [3, 2], 'what waited behind a batch');
  x.one.sendEvent('{}');
  t.equal(x.share.spent, 4, 'an event');
  x.share.waitMs = 1e6;
  x.ws.emit('message', REQUEST, false);
  t.same([x.share.spent, x.ws.paused, x.one.keepsUp], [5, 1, false]);
  x.ws.emit('message', REQUEST, false);
  t.equal(x.share.spent, 5, 'what was read already waits');
  t.end();
});
