import t from 'tap';
import {
  CTRL_SLOT_BYTES,
  CTRL_STATUS_INVALID_PARAMETER,
  CTRL_STATUS_SUCCESS,
  CTRL_TYPE_ADD_GREF_MAPPING,
  CTRL_TYPE_DEL_GREF_MAPPING,
  CTRL_TYPE_GET_GREF_MAPPING_SIZE,
  CTRL_RING_SIZE,
  BackRing,
  idxAdd,
  ringIdx,
} from '@grantline/xen';
import { CtrlFront } from '../../src/data/ctrl-front.js';
import { PoolClient, ANSWER_MS, type After } from '../../src/data/pool-client.js';
import { makeRig } from './rig.js';

interface Peer {
  limit?: number;
  addStatus?: number;
  /** DEL: status of each entry; default success. */
  delStatus?: (gref: number) => number;
  /** DEL: whether the pin really goes. */
  keepsPin?: (gref: number) => boolean;
  silent?: boolean;
  start?: number;
}

/** Lets promises run until nothing is left to do. */
const settle = async (): Promise<void> => {
  for (let i = 0; i < 20; i++) await Promise.resolve();
};

/** A rig with a control ring, a peer that answers at each kick, and timers that run when told. */
function makePool(peer: Peer, o = {}) {
  const rig = makeRig(o);
  const page = rig.pages.alloc();
  const list = rig.pages.alloc();
  if (page === -1 || list === -1) throw new Error('no page');
  const known = new Set<number>();
  const types: number[] = [];
  const timers: { ms: number; then: () => void }[] = [];
  const after: After = (ms, then) => {
    const timer = { ms, then };
    timers.push(timer);
    return () => void (timers.includes(timer) && timers.splice(timers.indexOf(timer), 1));
  };
  const expire = (ms: number): void => {
    for (const timer of timers.filter((x) => x.ms <= ms)) {
      timers.splice(timers.indexOf(timer), 1);
      timer.then();
    }
  };
  let back: BackRing | null = null;
  const answer = (): void => {
    if (back === null || peer.silent === true) return;
    while (back.unconsumed() > 0) {
      const at = back.slot(back.reqCons) >> 2;
      const [head, , , count] = [rig.mem.u32[at], 0, 0, rig.mem.u32[at + 3]];
      const type = head >>> 16;
      back.reqCons = idxAdd(back.reqCons, 1);
      types.push(type);
      let status = CTRL_STATUS_SUCCESS as number;
      let data = 0;
      if (type === CTRL_TYPE_GET_GREF_MAPPING_SIZE) data = peer.limit ?? 512;
      const entries = Array.from(
        { length: type === CTRL_TYPE_GET_GREF_MAPPING_SIZE ? 0 : count },
        (_, i) => (rig.pages.offset(list) + i * 8) >> 2,
      );
      if (type === CTRL_TYPE_ADD_GREF_MAPPING) {
        status = peer.addStatus ?? CTRL_STATUS_SUCCESS;
        for (const e of entries) {
          if (status !== CTRL_STATUS_SUCCESS) continue;
          known.add(rig.mem.u32[e]);
          rig.pin(rig.mem.u32[e], true);
        }
      }
      if (type === CTRL_TYPE_DEL_GREF_MAPPING) {
        for (const e of entries) {
          const gref = rig.mem.u32[e];
          const verdict = known.has(gref)
            ? (peer.delStatus?.(gref) ?? CTRL_STATUS_SUCCESS)
            : CTRL_STATUS_INVALID_PARAMETER;
          rig.mem.u16[(e << 1) + 3] = verdict;
          if (verdict !== CTRL_STATUS_SUCCESS) continue;
          data++;
          known.delete(gref);
          if (peer.keepsPin?.(gref) !== true) rig.pin(gref, false);
        }
      }
      const to = back.slot(back.rspProdPvt) >> 2;
      rig.mem.u32[to] = head;
      rig.mem.u32[to + 1] = status;
      rig.mem.u32[to + 2] = data;
      back.rspProdPvt = idxAdd(back.rspProdPvt, 1);
    }
    back.push();
    back.arm();
  };
  const ctrl = new CtrlFront(
    rig.mem,
    rig.pages.offset(page),
    { notify: () => answer() },
    ringIdx(peer.start ?? 0xfffffffe),
  );
  back = new BackRing(rig.mem, rig.pages.offset(page), CTRL_RING_SIZE, CTRL_SLOT_BYTES);
  const client = new PoolClient({
    mem: rig.mem,
    ctrl,
    queue: 0,
    buffers: rig.buffers,
    list: rig.pages.offset(list),
    listGref: 8,
    counters: rig.counters,
    after,
    onAdmitted: () => rig.front.refill(),
  });
  /** Runs everything that can run without time passing. */
  const run = async <T>(work: Promise<T>): Promise<T> => {
    for (let i = 0; i < 10; i++) {
      await settle();
      ctrl.poll();
    }
    return work;
  };
  const letGo = (): void => {
    for (const gref of known) rig.pin(gref, false);
  };
  const close = () => {
    client.close();
    rig.pages.release(page);
    rig.pages.release(list);
    return rig.missing();
  };
  return { ...rig, rig, ctrl, client, run, types, known, expire, timers, letGo, close };
}

t.test('all buffers are registered at set-up, and traffic then needs no message', async (t) => {
  const p = makePool({});
  const result = await p.run(p.client.setUp());
  t.same(result, { asked: 512, done: 512, quarantined: 0, error: null });
  t.equal(p.known.size, 512);
  t.equal(p.count('poolGrants'), 512);
  p.front.refill();
  for (let i = 0; i < 64; i++) p.deliver(i);
  p.back.push();
  t.equal(p.front.poll(), 64);
  t.same(p.types, [CTRL_TYPE_GET_GREF_MAPPING_SIZE, CTRL_TYPE_ADD_GREF_MAPPING]);
  t.equal(p.timers.length, 0);
  p.letGo();
  t.same(p.close(), { pages: 0, grants: 0 });
});

t.test('a limit below the number of buffers makes the guest give the rest back', async (t) => {
  const p = makePool({ limit: 100 });
  const free = p.pages.free;
  t.equal((await p.run(p.client.setUp())).done, 100);
  t.equal(p.buffers.count, 100);
  t.equal(p.pages.free, free + 412);
});

t.test('a netback that keeps no grants, or refuses the list, leaves ordinary grants in use', async (t) => {
  for (const peer of [{ limit: 0 }, { addStatus: CTRL_STATUS_INVALID_PARAMETER }]) {
    const p = makePool(peer);
    t.match((await p.run(p.client.setUp())).error, /netback/);
    t.equal(p.buffers.count, 512);
    p.front.refill();
    p.deliver(5);
    p.back.push();
    t.equal(p.front.poll(), 1);
    t.same(p.close(), { pages: 0, grants: 0 });
  }
});

t.test('shrink takes buffers back after the acknowledgement, and grow adds them again', async (t) => {
  for (const bytes of [4096, 2048]) {
    const p = makePool({}, { bytes });
    await p.run(p.client.setUp());
    p.front.refill();
    const before = { pages: p.pages.free, grants: p.grants.free };
    t.same(await p.run(p.client.shrink(100)), { asked: 100, done: 100, quarantined: 0, error: null });
    t.equal(p.buffers.count, 412);
    t.equal(p.grants.free, before.grants + 100);
    t.equal(p.pages.free, before.pages + (bytes === 4096 ? 100 : 50));
    t.equal(p.count('poolGrants'), 412);
    t.same(await p.run(p.client.grow(100)), { asked: 100, done: 100, quarantined: 0, error: null });
    t.same({ pages: p.pages.free, grants: p.grants.free }, before);
    t.equal(p.known.size, 512);
    p.letGo();
    t.same(p.close(), { pages: 0, grants: 0 });
  }
});

t.test('shrink below what is free waits for buffers that come back with traffic', async (t) => {
  const p = makePool({});
  await p.run(p.client.setUp());
  p.front.refill();
  const shrunk = p.client.shrink(300);
  await settle();
  t.equal(p.buffers.withholdWanted, 44);
  for (let i = 0; i < 64; i++) p.deliver(i);
  p.back.push();
  p.front.poll();
  t.equal(p.buffers.withholdWanted, 0);
  p.expire(10);
  t.equal((await p.run(shrunk)).done, 300);
  t.equal(p.buffers.count, 212);
});

t.test('a peer that refuses costs the pages, and the vif goes on with the rest', async (t) => {
  const p = makePool({ delStatus: (gref) => (gref % 2 === 0 ? CTRL_STATUS_SUCCESS : CTRL_STATUS_INVALID_PARAMETER) });
  await p.run(p.client.setUp());
  p.front.refill();
  const result = await p.run(p.client.shrink(64));
  t.same([result.done, result.quarantined], [32, 32]);
  t.equal(p.count('quarantined'), 32);
  t.equal(p.pages.quarantined, 32);
  for (let i = 0; i < 64; i++) p.deliver(i);
  p.back.push();
  t.equal(p.front.poll(), 64);
  p.letGo();
  t.same(p.close(), { pages: 32, grants: 32 }, 'never used again, also after the disconnect');
});

t.test('a peer that acknowledges and still has the page costs the page', async (t) => {
  const p = makePool({ keepsPin: () => true });
  await p.run(p.client.setUp());
  const result = await p.run(p.client.shrink(3));
  t.same([result.done, result.quarantined, result.error], [0, 3, 'netback kept a grant']);
  t.equal(p.buffers.count, 509);
});

t.test('a peer that does not answer within a second costs the pages, and is not asked again', async (t) => {
  const peer: Peer = {};
  const p = makePool(peer);
  await p.run(p.client.setUp());
  peer.silent = true;
  const shrunk = p.client.shrink(10);
  await settle();
  t.same(
    p.timers.map((x) => x.ms),
    [ANSWER_MS],
  );
  p.expire(ANSWER_MS);
  const result = await p.run(shrunk);
  t.same([result.done, result.quarantined], [0, 10]);
  t.match((await p.run(p.client.grow(10))).error, /did not answer/);
  t.equal(p.buffers.count, 502);
  p.front.refill();
  p.deliver(1);
  p.back.push();
  t.equal(p.front.poll(), 1);
});

t.test('a late or foreign answer is a stray, and an impossible index ends the control ring', async (t) => {
  const p = makePool({ start: 0 });
  await p.run(p.client.setUp());
  const at = (p.ctrl.ring.base + 64) >> 2;
  p.ctrl.ring.reqProdPvt = idxAdd(p.ctrl.ring.reqProdPvt, 1);
  p.mem.u32[at + 8] = 0x1234;
  p.mem.u32[(p.ctrl.ring.base >> 2) + 2] = 3;
  p.ctrl.poll();
  t.equal(p.ctrl.stray, 1);
  p.mem.u32[(p.ctrl.ring.base >> 2) + 2] = 99;
  p.ctrl.poll();
  t.equal(p.ctrl.broken, true);
  t.equal(p.ctrl.arm(), false);
});

t.test('a disconnect ends a request that is under way, which touches nothing any more', async (t) => {
  const peer: Peer = {};
  const p = makePool(peer);
  await p.run(p.client.setUp());
  peer.silent = true;
  const shrunk = p.client.shrink(10);
  await settle();
  p.letGo();
  t.same(p.close(), { pages: 0, grants: 0 });
  t.match(await shrunk, { done: 0, quarantined: 0, error: 'the vif disconnected' });
});
