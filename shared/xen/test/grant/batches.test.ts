import t from 'tap';
import { DMA_WRITE } from '../../src/abi/dma.js';
import { GNTCOPY_DEST_GREF, GNTCOPY_SOURCE_GREF, GNTMAP_DEVICE_MAP, GNTST } from '../../src/abi/grant-table.js';
import type { DomId } from '@grantline/base';
import {
  CopyBatch,
  DmaMapBatch,
  DmaUnmapBatch,
  MapBatch,
  UnmapBatch,
  answerByMessage,
  callMessage,
} from '../../src/grant/batches.js';
import type { Call } from '../../src/hypervisor/hypervisor-port.js';

/** Keeps what was sent; answers when told. */
class Port {
  sent: Buffer[] = [];
  private calls: Call[] = [];
  hypercall(call: Call): void {
    this.sent.push(Buffer.from(callMessage(call, 0)));
    this.calls.push(call);
  }
  answer(hex: string): void {
    // At an odd place of a bigger buffer, as socket data is.
    const bytes = Buffer.from(hex.replace(/\s/g, ''), 'hex');
    const big = Buffer.alloc(bytes.length + 3);
    bytes.copy(big, 3);
    answerByMessage(this.calls.shift()!, big.subarray(3));
  }
  hex(i = 0): string {
    return this.sent[i].toString('hex');
  }
}
const hex = (text: string): string => text.replace(/\s/g, '');
const SELF = 1000 as DomId;
const GUEST = 3 as DomId;

t.test('copy: elements are byte for byte gnttab_copy', (t) => {
  const port = new Port();
  const b = new CopyBatch(port, SELF, GUEST, 4);
  b.put(-1, 0x1234, 0x0102, 9, 0x0800, 1514, 7);
  b.put(4, 8, 0, 0x7ff, 2048, 60, -1);
  b.fetch(9, 0x0800, 0x1234, 0x0102, 128, 255);
  t.equal(b.count, 3);
  t.same([...b.tag.subarray(0, 3)], [7, -1, 255]);
  b.send();
  t.equal(
    port.hex(),
    hex(`00000000 0500 0300
         3412000000000000 e803 0201 00000000  0900000000000000 0300 0008 00000000  ea05 0200 0000 0000
         0800000000000000 0400 0000 00000000  ff07000000000000 0300 0008 00000000  3c00 0300 0000 0000
         0900000000000000 0300 0008 00000000  3412000000000000 e803 0201 00000000  8000 0100 0000 0000`),
  );
  port.answer('00000000 0000 0300 0000 f6ff 0000');
  t.equal(b.status(0), GNTST.okay);
  t.equal(b.status(1), GNTST.badCopyArg);
  t.end();
});

t.test('map: elements are byte for byte gnttab_map_grant_ref, results are read in place', (t) => {
  const port = new Port();
  const b = new MapBatch(port, 7 as DomId, GNTMAP_DEVICE_MAP, 2);
  b.put(0x0a0b);
  b.add(6, 9, 1000, 0x7fff5000);
  b.send();
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
  const b = new UnmapBatch(port, 2);
  b.put(5, 0xffff);
  b.put(0xfffffffe, 0x123456, 0x3000);
  b.send();
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
  const m = new DmaMapBatch(port, 1);
  m.put(77, DMA_WRITE);
  m.send();
  t.equal(port.hex(0), hex('00000000 0001 0100 4d000000 02000000'));
  port.answer('00000000 0000 0100 0000 0000 09000000');
  t.equal(m.status(0), 0);
  t.equal(m.dpn(0), 9);
  const u = new DmaUnmapBatch(port, 1);
  u.put(9);
  u.send();
  t.equal(port.hex(1), hex('00000000 0101 0100 09000000'));
  port.answer('00000000 0000 0100 faff');
  t.equal(u.status(0), GNTST.badDevAddr);
  t.end();
});

t.test('a used batch leaves nothing of its elements behind', (t) => {
  const port = new Port();
  const b = new CopyBatch(port, SELF, GUEST, 1);
  b.add(0x7fef, 0xffffffff, 4095, 0x7fef, 0xffffffff, 4095, 0xffff, GNTCOPY_SOURCE_GREF | GNTCOPY_DEST_GREF);
  b.send();
  port.answer('00000000 0000 0100 0000');
  b.reset();
  b.add(0, 0, 0, 0, 0, 0, 0, GNTCOPY_DEST_GREF);
  b.send();
  t.equal(
    port.hex(1),
    hex('00000000 0500 0100 0000000000000000 00000000 00000000 0000000000000000 00000000 00000000 0000 0200 00000000'),
  );
  t.end();
});

t.test('when the call itself failed, or its reply is short, every element failed', (t) => {
  for (const reply of ['00000000 eaff 0000', '00000000 0000 0200 0000', '00000000 0000 0100 0000 0000']) {
    const port = new Port();
    const b = new UnmapBatch(port, 2);
    b.put(1, 0);
    b.put(2, 0);
    b.send();
    port.answer(reply);
    t.not(b.rc, 0, reply);
    t.equal(b.status(0), GNTST.generalError);
    t.equal(b.status(1), GNTST.generalError);
  }
  t.end();
});

t.test('a batch in flight, a full one and an empty one are guarded', (t) => {
  const port = new Port();
  let done = 0;
  const b = new UnmapBatch(port, 1, () => done++);
  t.throws(() => b.send(), /empty/);
  b.put(1, 0);
  t.throws(() => b.put(2, 0), RangeError);
  b.send();
  t.notOk(b.answered);
  t.throws(() => b.send(), /sent/);
  t.throws(() => b.reset(), /flight/);
  t.throws(() => b.put(2, 0), /sent/);
  port.answer('00000000 0000 0100 0000');
  t.equal(done, 1);
  t.ok(b.answered);
  t.throws(() => new CopyBatch(port, SELF, GUEST, 513), RangeError);
  t.throws(() => new CopyBatch(port, SELF, GUEST, 0), RangeError);
  t.end();
});
