import t from 'tap';
import { NETRXF_MORE_DATA, RX_SLOT_BYTES, rxHigh, rxLow } from '../../src/abi/netif.js';
import { RX_RING_SIZE } from '../../src/abi/ring.js';
import { memOver } from '@grantline/machine';
import { BackRing, FrontRing } from '../../src/ring/shared-ring.js';
import { idxAdd } from '../../src/ring/indices.js';

/** Bytes of the page as "offset: hex", 16 a line, all-zero lines left out. */
function dump(bytes: Uint8Array): string {
  const lines: string[] = [];
  for (let i = 0; i < bytes.length; i += 16) {
    const line = Buffer.from(bytes.subarray(i, i + 16)).toString('hex');
    if (!/^0+$/.test(line)) lines.push(`${i.toString().padStart(4)}: ${line}`);
  }
  return lines.join('\n');
}

t.test('an rx ring page has the bytes that Xen io/ring.h and io/netif.h prescribe', (t) => {
  const mem = memOver(new ArrayBuffer(4096));
  const front = new FrontRing(mem, 0, RX_RING_SIZE, RX_SLOT_BYTES);
  t.equal(dump(mem.u8), '   0: 00000000010000000000000001000000', 'req_event and rsp_event start at 1');

  for (const [id, gref] of [
    [0, 0x11223344],
    [1, 9],
  ] as const) {
    const at = front.slot(front.reqProdPvt) >> 2;
    mem.u32[at] = rxLow(id, 0);
    mem.u32[at + 1] = gref;
    front.reqProdPvt = idxAdd(front.reqProdPvt, 1);
  }
  t.equal(front.push(), true, 'the back end asked at 1');
  t.equal(
    dump(mem.u8),
    ['   0: 02000000010000000000000001000000', '  64: 00000000443322110100000009000000'].join('\n'),
  );

  const back = new BackRing(mem, 0, RX_RING_SIZE, RX_SLOT_BYTES);
  back.reqCons = idxAdd(back.reqCons, 1);
  const at = back.slot(back.rspProdPvt) >> 2;
  mem.u32[at] = rxLow(0, 2048);
  mem.u32[at + 1] = rxHigh(NETRXF_MORE_DATA, -1);
  back.rspProdPvt = idxAdd(back.rspProdPvt, 1);
  t.equal(back.push(), true);
  t.equal(
    dump(mem.u8),
    ['   0: 02000000010000000100000001000000', '  64: 000000080400ffff0100000009000000'].join('\n'),
  );
  t.end();
});
