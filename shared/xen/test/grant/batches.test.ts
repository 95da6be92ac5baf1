import t from 'tap';
import { DMA_WRITE } from '../../src/abi/dma.js';
import { GNTMAP_DEVICE_MAP, GNTST } from '../../src/abi/grant-table.js';
import type { DomId, Dpn, GrantHandle, Gref, Pfn } from '@grantline/base';
import { CopyBatch, DmaMapBatch, DmaUnmapBatch, MapBatch, UnmapBatch } from '../../src/grant/batches.js';
import { BatchPool } from '../../src/grant/batch.js';

/** Keeps what was sent; answers when told. */
class Port {
  sent: Buffer[] = [];
  private replies: ((reply: Buffer) => void)[] = [];
  hypercall(bytes: Buffer, onReply: (reply: Buffer) => void): void {
    this.sent.push(Buffer.from(bytes));
    this.replies.push(onReply);
  }
  answer(hex: string): void {
    // At an odd place of a bigger buffer, as socket data is.
    const bytes = Buffer.from(hex.replace(/\s/g, ''), 'hex');
    const big = Buffer.alloc(bytes.length + 3);
    bytes.copy(big, 3);
    this.replies.shift()!(big.subarray(3));
  }
  hex(i = 0): string {
    return this.sent[i].toString('hex');
  }
}
const hex = (text: string): string => text.replace(/\s/g, '');
const ignore = (): void => {};

t.test('copy: elements are byte for byte gnttab_copy', (t) => {
  const port = new Port();
  const b = new CopyBatch(4);
  t.equal(b.add(0x1234 as Pfn, 1000 as DomId, 0x0102, false, 9 as Gref, 3 as DomId, 0x0800, 1514), 0);
  t.equal(b.add(8 as Gref, 4 as DomId, 0, true, 0x7ff as Gref, 3 as DomId, 2048, 60), 1);
  b.send(port, ignore);
  t.equal(
    port.hex(),
    hex(`00000000 0500 0200
         3412000000000000 e803 0201 00000000  0900000000000000 0300 0008 00000000  ea05 0200 0000 0000
         0800000000000000 0400 0000 00000000  ff07000000000000 0300 0008 00000000  3c00 0300 0000 0000`),
  );
  port.answer('00000000 0000 0200 0000 f6ff');
  t.equal(b.status(0), GNTST.okay);
  t.equal(b.status(1), GNTST.badCopyArg);
  t.end();
});

t.test('map: elements are byte for byte gnttab_map_grant_ref, results are read in place', (t) => {
  const port = new Port();
  const b = new MapBatch(2);
  b.add(GNTMAP_DEVICE_MAP, 0x0a0b as Gref, 7 as DomId);
  b.add(6, 9 as Gref, 1000 as DomId, 0x7fff5000);
  b.send(port, ignore);
  t.equal(
    port.hex(),
    hex(`00000000 0000 0200
         0000000000000000 01000000 0b0a0000 0700 0000 00000000 0000000000000000
         0050ff7f00000000 06000000 09000000 e803 0000 00000000 0000000000000000`),
  );
  port.answer(`00000000 0000 0200
               0000 0000 05000000 06000000 ffff0000
               fdff 0000 ffffffff 00000000 00000000`);
  t.equal(b.status(0), GNTST.okay);
  t.equal(b.handle(0), 5);
  t.equal(b.pfn(0), 6);
  t.equal(b.dpn(0), 0xffff);
  t.equal(b.status(1), GNTST.badGntref);
  t.equal(b.handle(1), 0xffffffff);
  t.end();
});

t.test('unmap: the device address is dpn << 12 in 64 bits', (t) => {
  const port = new Port();
  const b = new UnmapBatch(2);
  b.add(5 as GrantHandle, 0xffff as Dpn);
  b.add(0xfffffffe as GrantHandle, 0x123456 as Dpn, 0x3000);
  b.send(port, ignore);
  t.equal(
    port.hex(),
    hex(`00000000 0100 0200
         0000000000000000 00f0ff0f00000000 05000000 00000000
         0030000000000000 0060452301000000 feffffff 00000000`),
  );
  port.answer('00000000 0000 0200 0000 fcff');
  t.equal(b.status(0), 0);
  t.equal(b.status(1), GNTST.badHandle);
  t.end();
});

t.test('dma map_self and unmap_self', (t) => {
  const port = new Port();
  const m = new DmaMapBatch(1);
  m.add(77 as Pfn, DMA_WRITE);
  m.send(port, ignore);
  t.equal(port.hex(0), hex('00000000 0001 0100 4d000000 02000000'));
  port.answer('00000000 0000 0100 0000 0000 09000000');
  t.equal(m.status(0), 0);
  t.equal(m.dpn(0), 9);
  const u = new DmaUnmapBatch(1);
  u.add(9 as Dpn);
  u.send(port, ignore);
  t.equal(port.hex(1), hex('00000000 0101 0100 09000000'));
  port.answer('00000000 0000 0100 faff');
  t.equal(u.status(0), GNTST.badDevAddr);
  t.end();
});

t.test('a used batch leaves nothing of its elements behind', (t) => {
  const port = new Port();
  const b = new CopyBatch(1);
  b.add(0xffffffff as Gref, 0x7fef as DomId, 4095, true, 0xffffffff as Gref, 0x7fef as DomId, 4095, 0xffff);
  b.send(port, ignore);
  port.answer('00000000 0000 0100 0000');
  b.reset();
  b.add(0 as Pfn, 0 as DomId, 0, false, 0 as Gref, 0 as DomId, 0, 0);
  b.send(port, ignore);
  t.equal(
    port.hex(1),
    hex('00000000 0500 0100 0000000000000000 00000000 00000000 0000000000000000 00000000 00000000 0000 0200 00000000'),
  );
  t.end();
});

t.test('when the call itself failed, or its reply is short, every element failed', (t) => {
  for (const reply of ['00000000 eaff 0000', '00000000 0000 0200 0000', '00000000 0000 0100 0000 0000']) {
    const port = new Port();
    const b = new UnmapBatch(2);
    b.add(1 as GrantHandle, 0);
    b.add(2 as GrantHandle, 0);
    b.send(port, ignore);
    port.answer(reply);
    t.not(b.rc, 0, reply);
    t.equal(b.status(0), GNTST.generalError);
    t.equal(b.status(1), GNTST.generalError);
  }
  t.end();
});

t.test('a batch in flight, a full one and an empty one are guarded', (t) => {
  const port = new Port();
  const b = new DmaUnmapBatch(1);
  t.throws(() => b.send(port, ignore), /empty/);
  b.add(1 as Dpn);
  t.ok(b.isFull);
  t.throws(() => b.add(2 as Dpn), RangeError);
  let done: unknown = null;
  b.send(port, (batch) => (done = batch));
  t.ok(b.inFlight);
  t.throws(() => b.send(port, ignore), /sent/);
  t.throws(() => b.reset(), /flight/);
  t.throws(() => b.add(2 as Dpn), /sent/);
  port.answer('00000000 0000 0100 0000');
  t.equal(done, b);
  t.notOk(b.inFlight);
  t.throws(() => new CopyBatch(513), RangeError);
  t.throws(() => new CopyBatch(0), RangeError);
  t.end();
});

t.test('a pool has as many batches as it was made with, and takes them back empty', (t) => {
  const pool = new BatchPool(() => new DmaUnmapBatch(4), 2);
  const a = pool.acquire()!;
  t.ok(pool.acquire());
  t.equal(pool.acquire(), null);
  a.add(1 as Dpn);
  pool.release(a);
  t.equal(pool.acquire(), a);
  t.equal(a.count, 0);
  t.end();
});
