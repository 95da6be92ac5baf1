/** A guest that disconnects, or dies, while others and the hypervisor still have packets of it. */
import t from 'tap';
import { releaseTx } from '../../../src/control/vif-queues.js';
import { FOREIGN, FOREIGN_PAGES, ForeignFrames } from '../../../src/data/bridge/buffers.js';
import { LocalSwitch } from '../../../src/data/tx/local-switch.js';
import type { Call } from '@grantline/xen';
import { memoryProbe } from '@grantline/observe/testkit';
import { Arena, frameOf } from '../../kit.js';
import { BridgeBase, FIRST_GREF as RX, NicBase } from '../rx/netback-kit.js';
import { FIRST_GREF as G, GUEST_MAC, TxBase } from './tx-kit.js';

const OTHER_MAC = [2, 0, 0, 0, 0, 2];
const client = {
  closed: false,
  request: () => Promise.reject(new Error('not asked for')),
  // Unmap: a status of 0 for each element.
  hypercall: (call: Call) => {
    call.results.fill(0);
    setImmediate(() => call.answer(0));
  },
};

/** A guest that sends, and one that has posted no buffer, with a bridge between. */
function make() {
  const y = new BridgeBase({ guestPages: 8 });
  const foreign = new ForeignFrames(new Arena(FOREIGN_PAGES + 2).pages(FOREIGN_PAGES), 0);
  y.buffers.foreign = foreign;
  const holder: { local: LocalSwitch | null } = { local: null };
  const x: TxBase = new TxBase({
    local: {
      take: (...args) => holder.local!.take(...args),
      leave: (from) => holder.local!.leave(from),
    },
  });
  const local = (holder.local = new LocalSwitch(x.arena.mem, x.bridge, foreign));
  x.bridge.attach(2, y.rx);
  const takeMappings = x.tx.takeMappings.bind(x.tx);
  x.tx.takeMappings = (each) =>
    takeMappings((handle, dpn, at) => {
      if (x.xen.unpin(handle) !== 0) throw new Error('unmapped twice');
      each(handle, dpn, at);
    });
  /** @param at what happens when it has waited so often */
  const release = async (
    at: { waits: number; then: () => unknown } = { waits: 0, then: () => {} },
  ): Promise<number> => {
    let waited = 0;
    const wait = (): Promise<void> => {
      if (++waited === at.waits) at.then();
      if (waited > at.waits + 2000) throw new Error('it waits for ever');
      return Promise.resolve();
    };
    await releaseTx({ client, local }, x.tx, x.port, x.counters, wait);
    return waited;
  };
  return { x, y, foreign, release };
}

t.test(
  'what waits at another vif is dropped before its pages go: nobody reads what they hold next (H22, H27)',
  async (t) => {
    const { x, y, foreign, release } = make();
    const seen = memoryProbe(x.arena.mem, x.arena.pages(8), 8 * 4096);
    y.rx.probe.probe = seen.probe;
    x.send(frameOf(1, 1514, OTHER_MAC, GUEST_MAC), [G], [4096]);
    x.run();
    t.equal(y.rx.inFlight, 1);
    x.tx.stop();
    await release();
    t.equal(y.rx.inFlight, 0);
    t.equal(y.v['dropDisabled'], 1);
    t.equal(foreign.room, 2048);
    t.equal(x.xen.mapped.size, 0);
    t.equal(x.xen.pins.size, 0);
    t.same(
      seen.packets().map((p) => [p.bytes.length, p.comment]),
      [
        [1514, null],
        [1514, 'dropped at netback: disabled'],
      ],
      'a capture reads them while they are there',
    );
  },
);

t.test("a copy that is under way is waited for, however long: its frame is the receiver's", async (t) => {
  const { x, y, foreign, release } = make();
  x.send(frameOf(1, 60, OTHER_MAC, GUEST_MAC), [G], [4096]);
  x.run();
  // As one that is in a batch: it waits in no queue, and somebody holds it.
  foreign.retain(0);
  x.tx.stop();
  t.equal(await release({ waits: 5000, then: () => y.buffers.release(FOREIGN) }), 5000);
  t.equal(foreign.room, 2048);
});

t.test('a hypervisor that answers late gets every page back (H27)', async (t) => {
  const { x, release } = make();
  x.send(x.frame(1, 1514), [G], [4096]);
  x.tx.poll();
  x.tx.stop();
  await release({ waits: 1500, then: () => x.replyAll() });
  x.replyAll();
  t.equal(x.xen.pins.size, 0);
  t.equal(x.xen.mapped.size, 0);
});

t.test('an answer that came before the stop, and that no poll has looked at, is not waited for (H27)', async (t) => {
  const { x, release } = make();
  x.send(x.frame(1, 1514), [G], [4096]);
  x.tx.poll();
  // It schedules the next poll; the disconnect takes the poller off the loop before that.
  x.replyAll();
  x.tx.stop();
  await release();
  x.replyAll();
  t.equal(x.tx.grants.inFlight, 0);
  t.equal(x.xen.pins.size, 0);
  t.equal(x.xen.mapped.size, 0);
});

t.test('so it is with pins of receive buffers', (t) => {
  const y = new NicBase({ guestPages: 8 });
  y.front.post(RX, 0);
  y.rx.poll();
  t.equal(y.rx.slowLoop.inFlight, 1);
  y.xen.replyAll();
  y.rx.stop();
  t.equal(y.rx.slowLoop.inFlight, 0);
  const pinned: number[] = [];
  y.rx.takePins((handle) => pinned.push(handle));
  t.equal(pinned.length, 1, 'and the page is let go of');
  t.end();
});
