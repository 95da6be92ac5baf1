/** Slots and entries, as bytes on one side and as words on the other. The bytes are those of Xen's header (public/io/netif.h) and
 *  of docs/wire/nic-queue.md, written by hand. */
import t from 'tap';
import * as netif from '../../src/abi/netif.js';
import * as nic from '../../src/abi/nic-queue.js';
import * as nicTx from '../../src/abi/nic-tx-queue.js';

/** Bytes of little-endian words, as hexadecimal digits. */
function bytesOf(...words: number[]): string {
  const out = Buffer.alloc(words.length * 4);
  Uint32Array.from(words).forEach((word, i) => out.writeUInt32LE(word, i * 4));
  return out.toString('hex');
}

/** The words of bytes, as one side reads them: unsigned, or signed. */
function wordsOf(hex: string): { u32: number[]; i32: number[] } {
  const bytes = Buffer.from(hex.replaceAll(' ', ''), 'hex');
  const at = Array.from({ length: bytes.length / 4 }, (_, i) => i * 4);
  return { u32: at.map((i) => bytes.readUInt32LE(i)), i32: at.map((i) => bytes.readInt32LE(i)) };
}

interface Codec {
  name: string;
  /** Each field in order, parted by spaces. */
  bytes: string;
  /** Words that a writer makes of the fields. */
  written: number[];
  /** Fields that a reader finds in words. */
  read: (words: number[]) => Record<string, number>;
  fields: Record<string, number>;
  /** Of a slot; not given: no such number. */
  size?: number;
}

const codecs: Codec[] = [
  {
    name: 'tx request',
    bytes: '44332211 f20f 0d80 fdff eaf5',
    written: [0x11223344, netif.txWhere(0x0ff2, 0x800d), netif.txWhat(0xfffd, 0xf5ea)],
    read: ([gref, where, what]) => ({
      gref: gref | 0,
      offset: netif.txOffset(where),
      flags: netif.txFlags(where),
      id: netif.txId(what),
      size: netif.txSize(what),
    }),
    fields: { gref: 0x11223344, offset: 0x0ff2, flags: 0x800d, id: 0xfffd, size: 0xf5ea },
    size: netif.TX_SLOT_BYTES,
  },
  ...[netif.NETIF_RSP_ERROR, netif.NETIF_RSP_DROPPED, netif.NETIF_RSP_NULL].map((status, i) => ({
    name: `tx response ${status}`,
    bytes: `fdff ${['ffff', 'feff', '0100'][i]}`,
    written: [netif.txRsp(0xfffd, status)],
    read: ([word]: number[]) => ({ id: netif.txRspId(word), status: netif.txRspStatus(word) }),
    fields: { id: 0xfffd, status },
  })),
  {
    name: 'rx request',
    bytes: 'feff 0008 44332211',
    written: [netif.rxLow(0xfffe, 2048), 0x11223344],
    read: ([low, gref]) => ({ id: netif.rxId(low), offset: netif.rxOffset(low), gref: gref | 0 }),
    fields: { id: 0xfffe, offset: 2048, gref: 0x11223344 },
    size: netif.RX_SLOT_BYTES,
  },
  // An error is not read as a length of 65535 bytes, and a length is not read as an error.
  ...[netif.NETIF_RSP_ERROR, -12, 1514].map((status, i) => ({
    name: `rx response ${status}`,
    bytes: `ff80 00f8 0d80 ${['ffff', 'f4ff', 'ea05'][i]}`,
    written: [netif.rxLow(0x80ff, 0xf800), netif.rxHigh(0x800d, status)],
    read: ([low, high]: number[]) => ({
      id: netif.rxId(low),
      offset: netif.rxOffset(low),
      flags: netif.rxFlags(high),
      status: netif.rxStatus(high),
    }),
    fields: { id: 0x80ff, offset: 0xf800, flags: 0x800d, status },
    size: netif.RX_SLOT_BYTES,
  })),
  {
    name: 'extra info of GSO',
    bytes: '01 00 a885 01 00 0000',
    written: [netif.extraHead(netif.XEN_NETIF_EXTRA_TYPE_GSO, 0x85a8), netif.XEN_NETIF_GSO_TYPE_TCPV4],
    read: ([head, body]) => ({
      type: netif.extraType(head),
      flags: netif.extraFlags(head),
      mss: netif.gsoMss(head),
      gso: netif.gsoType(body),
    }),
    fields: { type: netif.XEN_NETIF_EXTRA_TYPE_GSO, flags: 0, mss: 0x85a8, gso: netif.XEN_NETIF_GSO_TYPE_TCPV4 },
  },
  {
    name: 'control request',
    bytes: 'feff 0900 04030201 08070605 0c0b0a09',
    written: [netif.ctrlHead(0xfffe, netif.CTRL_TYPE_ADD_GREF_MAPPING), ...[0x01020304, 0x05060708, 0x090a0b0c]],
    read: ([head]) => ({ id: netif.ctrlId(head), type: netif.ctrlType(head) }),
    fields: { id: 0xfffe, type: netif.CTRL_TYPE_ADD_GREF_MAPPING },
    size: netif.CTRL_SLOT_BYTES,
  },
  {
    name: 'entry of a list of grants',
    bytes: '09000000 0100 0280',
    written: [9, netif.grefListEntry(netif.GREF_LIST_READONLY, 0x8002)],
    read: ([gref, entry]) => ({ gref, status: netif.grefListStatus(entry) }),
    fields: { gref: 9, status: 0x8002 },
    size: netif.GREF_LIST_ENTRY_BYTES,
  },
  {
    name: 'NIC buffer',
    bytes: '07000000 0008 00f8',
    written: [7, nic.nicSpan(2048, 0xf800)],
    read: ([dpn, span]) => ({ dpn, offset: nic.spanOffset(span), len: nic.spanLen(span) }),
    fields: { dpn: 7, offset: 2048, len: 0xf800 },
    size: nic.NICQ_ENTRY_BYTES,
  },
  {
    name: 'NIC completion',
    bytes: 'eaf5 0980 00000000',
    written: [nic.nicComp(0xf5ea, 0x8009), 0],
    read: ([comp]) => ({ len: nic.compLen(comp), flags: nic.compFlags(comp) }),
    fields: { len: 0xf5ea, flags: 0x8009 },
    size: nic.NICQ_ENTRY_BYTES,
  },
  {
    name: 'NIC transmit descriptor',
    bytes: '07000000 f20f ea05 0980 a885 2200 3680',
    written: [7, nic.nicSpan(0x0ff2, 1514), nicTx.txOrder(0x8009, 0x85a8), nicTx.txHeaders(34, 0x8036)],
    read: ([dpn, span, order, headers]) => ({
      dpn,
      offset: nic.spanOffset(span),
      len: nic.spanLen(span),
      flags: nicTx.orderFlags(order),
      mss: nicTx.orderMss(order),
      csumStart: nicTx.headersCsumStart(headers),
      headers: nicTx.headersBytes(headers),
    }),
    fields: { dpn: 7, offset: 0x0ff2, len: 1514, flags: 0x8009, mss: 0x85a8, csumStart: 34, headers: 0x8036 },
  },
];

for (const { name, bytes, written, read, fields, size } of codecs)
  t.test(`${name}: the same bytes, written and read`, (t) => {
    t.equal(bytesOf(...written), bytes.replaceAll(' ', ''), 'written');
    const { u32, i32 } = wordsOf(bytes);
    t.same(read(u32), fields, 'read through a Uint32Array');
    t.same(read(i32), fields, 'read through an Int32Array');
    if (size !== undefined) t.equal(u32.length * 4, size, 'bytes of the slot');
    t.end();
  });
