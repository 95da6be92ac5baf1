import t from 'tap';
import {
  RX_REQ_GREF,
  RX_REQ_ID,
  RX_RSP_FLAGS,
  RX_RSP_ID,
  RX_RSP_OFFSET,
  RX_RSP_STATUS,
  RX_SLOT_BYTES,
} from '../../src/abi/netif.js';
import * as netif from '../../src/abi/netif.js';
import { RX_RING_SIZE } from '../../src/abi/ring.js';
import { memOver } from '@grantline/machine';
import { BackRing } from '../../src/ring/back-ring.js';
import { FrontRing } from '../../src/ring/front-ring.js';
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
    const at = front.slot(front.reqProdPvt);
    mem.dv.setUint16(at + RX_REQ_ID, id, true);
    mem.dv.setUint32(at + RX_REQ_GREF, gref, true);
    front.reqProdPvt = idxAdd(front.reqProdPvt, 1);
  }
  t.equal(front.push(), true, 'the back end asked at 1');
  t.equal(
    dump(mem.u8),
    ['   0: 02000000010000000000000001000000', '  64: 00000000443322110100000009000000'].join('\n'),
  );

  const back = new BackRing(mem, 0, RX_RING_SIZE, RX_SLOT_BYTES);
  back.reqCons = idxAdd(back.reqCons, 1);
  const at = back.slot(back.rspProdPvt);
  mem.dv.setUint16(at + RX_RSP_ID, 0, true);
  mem.dv.setUint16(at + RX_RSP_OFFSET, 2048, true);
  mem.dv.setUint16(at + RX_RSP_FLAGS, netif.NETRXF_MORE_DATA, true);
  mem.dv.setInt16(at + RX_RSP_STATUS, -1, true);
  back.rspProdPvt = idxAdd(back.rspProdPvt, 1);
  t.equal(back.push(), true);
  t.equal(
    dump(mem.u8),
    ['   0: 02000000010000000100000001000000', '  64: 000000080400ffff0100000009000000'].join('\n'),
  );
  t.end();
});

t.test('status -1 is not read as length 65535', (t) => {
  const mem = memOver(new ArrayBuffer(64));
  for (const status of [netif.NETIF_RSP_ERROR, netif.NETIF_RSP_DROPPED, -12, 1514]) {
    mem.dv.setInt16(RX_RSP_STATUS, status, true);
    t.equal(mem.i16[RX_RSP_STATUS >> 1], status);
  }
  t.end();
});

t.test('offsets of each slot ascend and its fields fill it', (t) => {
  const layouts: [string, number[], number][] = [
    [
      'tx request',
      [netif.TX_REQ_GREF, 4, netif.TX_REQ_OFFSET, 2, netif.TX_REQ_FLAGS, 2, netif.TX_REQ_ID, 2, netif.TX_REQ_SIZE, 2],
      netif.TX_SLOT_BYTES,
    ],
    ['rx request', [netif.RX_REQ_ID, 2, netif.RX_REQ_OFFSET, 2, netif.RX_REQ_GREF, 4], netif.RX_SLOT_BYTES],
    [
      'rx response',
      [netif.RX_RSP_ID, 2, netif.RX_RSP_OFFSET, 2, netif.RX_RSP_FLAGS, 2, netif.RX_RSP_STATUS, 2],
      netif.RX_SLOT_BYTES,
    ],
    [
      'ctrl request',
      [
        netif.CTRL_REQ_ID,
        2,
        netif.CTRL_REQ_TYPE,
        2,
        netif.CTRL_REQ_DATA0,
        4,
        netif.CTRL_REQ_DATA1,
        4,
        netif.CTRL_REQ_DATA2,
        4,
      ],
      netif.CTRL_SLOT_BYTES,
    ],
  ];
  for (const [name, fields, bytes] of layouts) {
    let at = 0;
    for (let i = 0; i < fields.length; i += 2) {
      t.equal(fields[i], at, `${name} field ${i / 2}`);
      at += fields[i + 1];
    }
    t.equal(at, bytes, `${name} size`);
  }
  t.end();
});
