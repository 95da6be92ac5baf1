// Bulk TCP between two stacks in one thread, back to back: what the stack itself costs, both ends together.
//
//   npm run build && node shared/tcpip/bench/bulk.mjs [seconds]
//
// The application writes 256 KiB at a time from its own memory and reads into its own memory. Between the stacks each
// packet is copied once, as a NIC would. Rows are interleaved; the median of five is printed.
import { performance } from 'node:perf_hooks';
import { nowNs } from '@grantline/base';
import { memOver } from '@grantline/machine';
import { NetStack, RX_CHECKSUM_BLANK, Secret } from '../dist/src/index.js';

const SECONDS = Number(process.argv[2] ?? 1);
const ROUNDS = 5;
const IP = [0x0a000001, 0x0a000002];
const MAC = [
  { hi: 0x0200, lo: 1 },
  { hi: 0x0200, lo: 2 },
];
const SLOTS = 64;
const SLOT = 1 << 17;

/** One end. */
class End {
  constructor(space, index, row) {
    this.mem = space.mem;
    this.tx = space.mapPrivate(SLOT) + 2;
    this.rx = space.mapPrivate(SLOTS * SLOT);
    this.count = 0;
    this.bytes = new Int32Array(SLOTS);
    this.gso = new Int32Array(SLOTS);
    this.flags = new Int32Array(SLOTS);
    this.peer = null;
    this.row = row;
    this.stack = new NetStack({
      link: this,
      space,
      secret: Secret.fresh(),
      address: { mac: MAC[index], ip: IP[index], prefix: 24 },
      settings: { gso: row.gso ? 65535 : 0, txChecksum: row.offload, rxChecksum: row.offload, memory: 8 << 20 },
      coalesce: row.lro,
    });
  }

  reserve() {
    return this.peer.count < SLOTS ? this.tx : -1;
  }

  send(at, bytes, csumStart, csumOffset, gsoSize) {
    this.peer.place(at, bytes, csumStart > 0 ? RX_CHECKSUM_BLANK : 0, gsoSize);
  }

  place(at, bytes, flags, gsoSize) {
    const slot = this.count++;
    const to = this.rx + slot * SLOT + 2;
    this.mem.u8.copyWithin(to, at, at + bytes);
    this.bytes[slot] = bytes;
    this.gso[slot] = gsoSize;
    this.flags[slot] = flags;
  }

  turn(now) {
    const { stack } = this;
    stack.poll(now);
    const n = this.count;
    for (let i = 0; i < n; i++) stack.input(this.rx + i * SLOT + 2, this.bytes[i], this.flags[i], this.gso[i]);
    // Held segments lie in the slots until flush; what flush sends goes into the peer's.
    stack.flush();
    this.count = 0;
  }
}

function run(row, seconds) {
  const buffer = new ArrayBuffer(64 << 20);
  let next = 4096;
  const space = {
    mem: memOver(buffer),
    mapPrivate(bytes) {
      const at = next;
      next += Math.ceil(bytes / 4096) * 4096;
      if (next > buffer.byteLength) throw new RangeError('full');
      return at;
    },
  };
  const a = new End(space, 0, row);
  const b = new End(space, 1, row);
  a.peer = b;
  b.peer = a;
  const source = new Uint8Array(256 << 10).fill(7);
  const target = new Uint8Array(256 << 10);
  let received = 0;
  let writer;
  let reader;
  b.stack.listen(80, (connection) => {
    reader = connection;
    return {
      onOpen() {},
      onReadable() {
        for (let n = reader.read(target); n > 0; n = reader.read(target)) received += n;
      },
      onEnd() {},
      onWritable() {},
      onClose() {},
    };
  });
  const fill = () => {
    while (writer.write(source) === source.length);
  };
  a.stack.poll(nowNs());
  b.stack.poll(nowNs());
  writer = a.stack.connect(IP[1], 80, {
    onOpen: fill,
    onReadable() {},
    onEnd() {},
    onWritable: fill,
    onClose() {},
  });
  const turns = (until) => {
    let now = nowNs();
    for (let i = 0; performance.now() < until; i++) {
      if ((i & 15) === 0) now = nowNs();
      a.turn(now);
      b.turn(now);
    }
  };
  turns(performance.now() + 300);
  received = 0;
  const from = performance.now();
  turns(from + seconds * 1000);
  const ms = performance.now() - from;
  const v = a.stack.counts();
  if (v.tcpRetransmits > 0) throw new Error(`${v.tcpRetransmits} retransmissions on a cable that loses nothing`);
  return { gbps: (received * 8) / ms / 1e6, packets: v.outPackets };
}

const rows = [
  { name: 'segmentation and checksum offload', gso: true, offload: true, lro: true },
  { name: 'checksum offload, 1500-byte packets, coalescing', gso: false, offload: true, lro: true },
  { name: 'checksum offload, 1500-byte packets, no coalescing', gso: false, offload: true, lro: false },
  { name: '1500-byte packets, all in software', gso: false, offload: false, lro: true },
];
const results = rows.map(() => []);
for (let round = 0; round < ROUNDS; round++)
  for (const [i, row] of rows.entries()) results[i].push(run(row, SECONDS / ROUNDS).gbps);
for (const [i, row] of rows.entries()) {
  const sorted = results[i].sort((x, y) => x - y);
  const list = sorted.map((x) => x.toFixed(1)).join(', ');
  console.log(`${sorted[ROUNDS >> 1].toFixed(1).padStart(6)} Gb/s  ${row.name}  (${list})`);
}
