import t from 'tap';
import {
  CTRL_STATUS_BUFFER_OVERFLOW,
  CTRL_STATUS_INVALID_PARAMETER,
  CTRL_STATUS_NOT_SUPPORTED,
  CTRL_STATUS_SUCCESS,
  CTRL_TYPE_ADD_GREF_MAPPING,
  CTRL_TYPE_DEL_GREF_MAPPING,
  CTRL_TYPE_GET_GREF_MAPPING_SIZE,
  GNTTABOP_MAP,
  HYPERCALL_HEADER_BYTES,
  MAP_BYTES,
  MAP_REF,
  MAP_RES_BYTES,
  UNMAP_BYTES,
  UNMAP_HANDLE,
} from '@grantline/xen';
import { byMessages } from '@grantline/xen/testkit';
import { NETBACK_COUNTERS } from '@grantline/observe';
import type { DomId, GrantHandle } from '@grantline/base';
import { PoolControl, type PoolUse } from '../../src/control/pool-control.js';
import { GrantPool } from '../../src/data/grants/grant-pool.js';
import { Arena, block } from '../kit.js';

const GUEST = 3 as DomId;
const LIST = 9;
const SUCCESS = CTRL_STATUS_SUCCESS;
const INVALID = CTRL_STATUS_INVALID_PARAMETER;

/** A hypervisor that knows map and unmap, and a window that notes what is in it. */
function make(use: PoolUse = 'nic') {
  const arena = new Arena(8);
  const { mem } = arena;
  const list = arena.pages();
  const refuses = new Set<number>();
  const live = new Map<number, number>();
  let nextHandle = 1;
  const client = {
    closed: false,
    hypercall: byMessages((bytes, onReply) => {
      const isMap = bytes.readUInt16LE(4) === GNTTABOP_MAP;
      const count = bytes.readUInt16LE(6);
      const size = isMap ? MAP_RES_BYTES : 2;
      const reply = Buffer.alloc(HYPERCALL_HEADER_BYTES + count * size);
      reply.writeUInt16LE(count, 6);
      for (let i = 0; i < count; i++) {
        const out = HYPERCALL_HEADER_BYTES + i * size;
        if (isMap) {
          const gref = bytes.readUInt32LE(HYPERCALL_HEADER_BYTES + i * MAP_BYTES + MAP_REF);
          if (refuses.has(gref)) {
            reply.writeInt16LE(-1, out);
            continue;
          }
          live.set(nextHandle, gref);
          reply.writeUInt32LE(nextHandle++, out + 4);
          reply.writeUInt32LE(gref, out + 8);
          reply.writeUInt32LE(1000 + gref, out + 12);
        } else {
          const handle = bytes.readUInt32LE(HYPERCALL_HEADER_BYTES + i * UNMAP_BYTES + UNMAP_HANDLE);
          reply.writeInt16LE(live.delete(handle) ? 0 : -4, out);
        }
      }
      setImmediate(() => onReply(reply));
    }),
    request: () => Promise.reject(new Error('not here')),
  };
  let slots = 0;
  const window = {
    free: 1000,
    take: () => ++slots * 4096 + 0x100000,
    mapAt: () => {},
    unmap: () => void slots--,
    mapGrant: (_: unknown, __: DomId, gref: number) =>
      gref === LIST
        ? Promise.resolve({ offset: list, handle: 0 as GrantHandle })
        : Promise.reject(new Error('refused')),
    unmapGrant: () => Promise.resolve(),
    forget: () => {},
  };
  const counters = block(NETBACK_COUNTERS);
  const pool = new GrantPool();
  const control = new PoolControl(
    { client, window, mem, log: { info: () => {}, warn: () => {}, error: () => {} } },
    GUEST,
    pool,
    use as 'nic' | 'copy',
    counters,
  );
  const ask = (type: number, grefs: readonly number[] = [], { queue = 0, gref = LIST, count = grefs.length } = {}) => {
    grefs.forEach((g, i) => {
      mem.u32[(list >> 2) + i * 2] = g;
      mem.u32[(list >> 2) + i * 2 + 1] = 0xffff0000;
    });
    return control.handle({ type, queue, gref, count });
  };
  const statuses = (n: number): number[] => Array.from({ length: n }, (_, i) => mem.u16[(list >> 1) + i * 4 + 3]);
  return { control, window, pool, ask, statuses, refuses, live, counters, windowSlots: () => slots };
}

const range = (from: number, n: number): number[] => Array.from({ length: n }, (_, i) => from + i);

t.test('grants are added, used, removed, and acknowledged only when they are gone', async (t) => {
  const x = make();
  t.same(await x.ask(CTRL_TYPE_GET_GREF_MAPPING_SIZE), { status: SUCCESS, data: 512 });
  t.same(await x.ask(CTRL_TYPE_ADD_GREF_MAPPING, [20, 21, 22]), { status: SUCCESS, data: 3 });
  t.equal(x.pool.dpn[21], 1021);
  t.equal(x.counters.read()['poolGrants'], 3);
  t.same(await x.ask(CTRL_TYPE_DEL_GREF_MAPPING, [21, 30, 21]), { status: SUCCESS, data: 1 });
  t.same(x.statuses(3)[1], INVALID, 'never added');
  t.equal(x.pool.dpn[21], 0);
  t.equal(x.live.size, 2);
});

t.test('one that is on the NIC is not removed, and says so', async (t) => {
  const x = make();
  await x.ask(CTRL_TYPE_ADD_GREF_MAPPING, [20, 21]);
  let used = true;
  x.pool.addUser({
    markInUse: (marks) => {
      if (used) marks[20] = 1;
    },
  });
  t.same(await x.ask(CTRL_TYPE_DEL_GREF_MAPPING, [20, 21]), { status: SUCCESS, data: 1 });
  t.same(x.statuses(2), [INVALID, SUCCESS]);
  t.equal(x.pool.dpn[20], 1020);
  used = false;
  t.same(await x.ask(CTRL_TYPE_DEL_GREF_MAPPING, [20]), { status: SUCCESS, data: 1 });
  t.equal(x.live.size, 0);
});

t.test('adding is all or nothing: one refused grant leaves none (H18, H26)', async (t) => {
  const x = make();
  x.refuses.add(21);
  t.same(await x.ask(CTRL_TYPE_ADD_GREF_MAPPING, [20, 21, 22]), { status: INVALID, data: 0 });
  t.same(x.statuses(3), [SUCCESS, INVALID, SUCCESS]);
  t.equal(x.pool.count, 0);
  t.equal(x.live.size, 0);
  t.equal(x.counters.read()['poolGrants'], 0);
});

t.test('a grant twice, one that is active, a reserved or impossible one: refused as a whole (H19)', async (t) => {
  const x = make();
  await x.ask(CTRL_TYPE_ADD_GREF_MAPPING, [20]);
  for (const grefs of [[30, 30], [20, 31], [7], [2048], [0xffffffff]])
    t.equal((await x.ask(CTRL_TYPE_ADD_GREF_MAPPING, grefs)).status, INVALID);
  t.equal(x.pool.count, 1);
  t.equal(x.live.size, 1);
});

t.test('no more than 512 grants of a vif stay active (H26)', async (t) => {
  const x = make();
  t.equal((await x.ask(CTRL_TYPE_ADD_GREF_MAPPING, range(100, 512))).status, SUCCESS);
  t.equal((await x.ask(CTRL_TYPE_ADD_GREF_MAPPING, [50])).status, CTRL_STATUS_BUFFER_OVERFLOW);
  await x.ask(CTRL_TYPE_DEL_GREF_MAPPING, [100]);
  t.equal((await x.ask(CTRL_TYPE_ADD_GREF_MAPPING, [50])).status, SUCCESS);
});

t.test('impossible control requests are refused (H33)', async (t) => {
  const x = make();
  t.equal((await x.ask(1)).status, CTRL_STATUS_NOT_SUPPORTED);
  t.equal((await x.ask(CTRL_TYPE_ADD_GREF_MAPPING, [20], { queue: 1 })).status, INVALID);
  t.equal((await x.ask(CTRL_TYPE_ADD_GREF_MAPPING, [], { count: 0 })).status, INVALID);
  t.equal((await x.ask(CTRL_TYPE_ADD_GREF_MAPPING, [], { count: 513 })).status, INVALID);
  t.equal((await x.ask(CTRL_TYPE_ADD_GREF_MAPPING, [20], { gref: 0x7fffffff })).status, INVALID);
  t.equal((await x.ask(CTRL_TYPE_ADD_GREF_MAPPING, [20], { gref: 10 })).status, INVALID);
  t.equal(x.pool.count, 0);
});

t.test('H17: requests about hashes, and of types that there are not, are refused and keep nothing', async (t) => {
  const x = make();
  for (const type of [1, 2, 3, 4, 5, 6, 7, 11, 0xffff])
    t.same(await x.ask(type, [20, 21]), { status: CTRL_STATUS_NOT_SUPPORTED, data: 0 }, `type ${type}`);
  t.same([x.pool.count, x.live.size, x.counters.read()['hypercalls']], [0, 0, 0], 'not even the list is mapped');
});

for (const use of ['nic', 'copy'] as const)
  t.test(`at disconnect everything is let go of (${use})`, async (t) => {
    const x = make(use);
    await x.ask(CTRL_TYPE_ADD_GREF_MAPPING, range(100, 64));
    t.equal(x.windowSlots(), use === 'copy' ? 64 : 0);
    const late = x.ask(CTRL_TYPE_ADD_GREF_MAPPING, range(300, 8));
    await x.control.close();
    await late;
    t.equal((await x.ask(CTRL_TYPE_ADD_GREF_MAPPING, [20])).status, INVALID);
    t.equal(x.pool.count, 0);
    t.equal(x.live.size, 0);
    t.equal(x.windowSlots(), 0);
    t.equal(x.counters.read()['poolGrants'], 0);
  });

t.test('a grant that the hypervisor does not let go of is counted and asked for again at the end', async (t) => {
  for (const again of [true, false]) {
    const x = make();
    await x.ask(CTRL_TYPE_ADD_GREF_MAPPING, [20, 21]);
    const [[handle, gref]] = x.live;
    x.live.delete(handle);
    t.same(await x.ask(CTRL_TYPE_DEL_GREF_MAPPING, [20, 21]), { status: SUCCESS, data: 1 });
    t.same(x.statuses(2), [INVALID, SUCCESS]);
    t.match(x.counters.read(), { keptGrants: 1, poolGrants: 0 });
    t.equal((await x.ask(CTRL_TYPE_ADD_GREF_MAPPING, [20])).status, SUCCESS, 'the page may be granted anew');
    if (again) x.live.set(handle, gref);
    await x.control.close();
    t.equal(x.live.size, 0);
    t.equal(x.counters.read()['keptGrants'], again ? 0 : 1);
  }
});

for (const use of ['copy', 'send'] as const)
  t.test(
    `pages that the system does not let us map are let go of again: none stays pinned (${use}, H27)`,
    async (t) => {
      const x = make(use);
      let n = 0;
      x.window.mapAt = () => {
        // The guest died meanwhile: its memory file is gone.
        if (++n > 2) throw new Error('ENOENT');
      };
      t.same(await x.ask(CTRL_TYPE_ADD_GREF_MAPPING, [20, 21, 22, 23]), { status: INVALID, data: 0 });
      t.same([x.live.size, x.windowSlots(), x.pool.count, x.counters.read()['poolGrants']], [0, 0, 0, 0]);
      await x.control.close();
    },
  );
