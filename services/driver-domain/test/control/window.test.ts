import t, { type Test } from 'tap';
import { spawnSync } from 'node:child_process';
import { closeSync, readSync, readdirSync, writeSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { GNTST } from '@grantline/xen';
import { byMessages } from '@grantline/xen/testkit';
import { PAGE_SIZE, type DomId, type Gref, type Pfn } from '@grantline/base';
import { GrantError, GrantWindow, PeerMemory } from '../../src/control/window.js';
import { AddressSpace, makeMemory } from '@grantline/machine';
import { anew } from '@grantline/machine/testkit';

const ONE = 1 as DomId;

/** A domain 1 with four pages, page p filled with p + 1. */
function bed(t: Test, slots = 2) {
  const memory = makeMemory('test', 4 * PAGE_SIZE);
  writeSync(memory, Buffer.concat([1, 2, 3, 4].map((b) => Buffer.alloc(PAGE_SIZE, b))));
  const space = new AddressSpace(1 << 20);
  // As the hypervisor does: to each who asks another descriptor.
  let asked = 0;
  const peers = new PeerMemory({
    descriptor: (_of, domid) => {
      asked++;
      if (domid !== ONE) return Promise.reject(Object.assign(new Error('there is none'), { code: 'ESRCH' }));
      return Promise.resolve(anew(memory));
    },
  });
  const window = new GrantWindow(space, peers, slots);
  t.teardown(() => {
    window.forget(ONE);
    closeSync(memory);
  });
  return { memory, space, window, peers, asked: () => asked };
}

/** @returns byte offset of the page, or -1 when the window is full */
function mapPage(window: GrantWindow, domid: DomId, pfn: Pfn): number {
  const at = window.take();
  if (at < 0) return -1;
  try {
    window.mapAt(at, domid, pfn, true);
  } catch (err) {
    window.unmap(at);
    throw err;
  }
  return at;
}

t.test('a mapped page is the granter’s page, in both directions', async (t) => {
  const { memory, space, window, peers } = bed(t);
  await peers.open(ONE);
  const at = mapPage(window, ONE, 2 as Pfn);
  t.equal(space.mem.u8[at], 3);
  t.equal(space.mem.u8[at + PAGE_SIZE - 1], 3);
  space.mem.u8[at + 5] = 99;
  const byte = Buffer.alloc(1);
  readSync(memory, byte, 0, 1, 2 * PAGE_SIZE + 5);
  t.equal(byte[0], 99);
});

t.test('slots are taken and recycled; a full window says so', async (t) => {
  const { window, space, peers } = bed(t);
  await peers.open(ONE);
  const a = mapPage(window, ONE, 0 as Pfn);
  const b = mapPage(window, ONE, 1 as Pfn);
  t.not(a, b);
  t.equal(mapPage(window, ONE, 2 as Pfn), -1);
  window.unmap(a);
  t.equal(window.free, 1);
  t.equal(mapPage(window, ONE, 3 as Pfn), a);
  t.equal(space.mem.u8[a], 4);
  t.throws(() => window.unmap(a + 1), RangeError);
  t.throws(() => window.unmap(a + 16 * PAGE_SIZE), RangeError);
  window.unmap(a);
  t.throws(() => window.unmap(a), RangeError, 'not twice');
});

t.test('the memory of a domain is asked for once, and not kept after it is forgotten', async (t) => {
  const { window, peers, asked } = bed(t, 8);
  const open = (): number => readdirSync('/proc/self/fd').length;
  const before = open();
  await Promise.all([peers.open(ONE), peers.open(ONE)]);
  for (let p = 0; p < 4; p++) mapPage(window, ONE, p as Pfn);
  t.same([open(), asked()], [before + 1, 1]);
  window.forget(ONE);
  window.forget(ONE);
  t.equal(open(), before);
  // One that dies while its memory is on its way: its successor must not be taken for it.
  const coming = peers.open(ONE);
  window.forget(ONE);
  await t.rejects(coming, { message: 'domain 1 has gone' });
  t.equal(open(), before);
  t.throws(() => mapPage(window, ONE, 0 as Pfn), { message: 'the memory of domain 1 is not open' });
});

t.test('a domain that cannot be opened costs no slot, and no grant', async (t) => {
  const { window, peers } = bed(t);
  t.throws(() => mapPage(window, 9 as DomId, 0 as Pfn), { message: 'the memory of domain 9 is not open' });
  const none = { hypercall: () => t.fail('nothing is asked of the hypervisor') };
  await t.rejects(window.mapGrant(none, 9 as DomId, 8 as Gref), { code: 'ESRCH' });
  t.equal(window.free, 2);
  await t.rejects(peers.open(9 as DomId), { code: 'ESRCH' }, 'and it can be tried again');
});

t.test('mapGrant maps what the hypervisor says, unmapGrant names handle and address', async (t) => {
  const { window, space } = bed(t);
  const sent: string[] = [];
  const replies = [
    '0000000000000100 0000 0000 07000000 03000000 00000000',
    '0000000000000100 0000',
    '0000000000000100 fdff 0000 ffffffff 00000000 00000000',
  ];
  const port = {
    hypercall: byMessages((bytes, onReply) => {
      sent.push(bytes.toString('hex'));
      onReply(Buffer.from(replies.shift()!.replace(/ /g, ''), 'hex'));
    }),
  };
  const m = await window.mapGrant(port, ONE, 8 as Gref);
  t.equal(space.mem.u8[m.offset], 4);
  t.equal(m.handle, 7);
  await window.unmapGrant(port, m);
  const address = Buffer.alloc(8);
  address.writeUInt32LE(m.offset, 0);
  t.equal(sent[1], `0000000001000100${address.toString('hex')}00000000000000000700000000000000`);
  t.equal(window.free, 2);
  await t.rejects(window.mapGrant(port, ONE, 9 as Gref), { name: 'GrantError', status: GNTST.badGntref });
  t.equal(window.free, 2, 'a refused map costs no slot');
  t.match(new GrantError('map', GNTST.badGntref).message, 'badGntref');
});

t.test('a grant that the hypervisor has mapped and the system has not is unmapped again', async (t) => {
  const { window, peers } = bed(t);
  const sent: string[] = [];
  const replies = ['0000000000000100 0000 0000 07000000 03000000 00000000', '0000000000000100 0000'];
  const port = {
    hypercall: byMessages((bytes, onReply) => {
      sent.push(bytes.toString('hex'));
      // It dies between the two.
      peers.forget(ONE);
      onReply(Buffer.from(replies.shift()!.replace(/ /g, ''), 'hex'));
    }),
  };
  await t.rejects(window.mapGrant(port, ONE, 8 as Gref), { message: 'the memory of domain 1 is not open' });
  t.equal(window.free, 2);
  t.equal(sent.length, 2, 'else the granter could never take its page back');
  t.equal(sent[1].slice(8, 16), '01000100', 'an unmap of one element');
  t.equal(sent[1].slice(48, 56), '07000000', 'of that handle');
});

t.test('a read of a page that is not mapped any more ends that process by SIGSEGV, and nothing else', (t) => {
  const child = fileURLToPath(new URL('./window-child.js', import.meta.url));
  const run = (what: string) => spawnSync(process.execPath, [child, what], { encoding: 'utf8' });
  t.equal(run('mapped').stdout, 'read 3\n');
  for (const what of ['unmapped', 'guard']) {
    const r = run(what);
    t.equal(r.signal, 'SIGSEGV', what);
    t.equal(r.stdout, '');
  }
  t.end();
});
