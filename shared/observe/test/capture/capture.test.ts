import { readFileSync } from 'node:fs';
import t from 'tap';
import { CaptureError } from '../../src/capture/capture.js';
import { parseCapture, writePcap } from '../../src/capture/pcap.js';
import { MacRewriter, destinations } from '../../src/capture/mac-rewriter.js';

const SAMPLE = new URL('../../../../../load/captures/lan-http.pcap', import.meta.url);
const hex = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text.replace(/\s+/g, ''), 'hex'));

// Two frames of 3 and 2 bytes, 1.5 us apart where the format can tell, written by hand from the drafts.
const golden: Record<string, Uint8Array> = {
  'pcap, little-endian, microseconds': hex(`
    d4c3b2a1 0200 0400 00000000 00000000 ffff0000 01000000
    05000000 01000000 03000000 03000000 aabbcc
    05000000 03000000 02000000 02000000 ddee`),
  'pcap, big-endian, microseconds': hex(`
    a1b2c3d4 0002 0004 00000000 00000000 0000ffff 00000001
    00000005 00000001 00000003 00000003 aabbcc
    00000005 00000003 00000002 00000002 ddee`),
  'pcap, little-endian, nanoseconds': hex(`
    4d3cb2a1 0200 0400 00000000 00000000 ffff0000 01000000
    05000000 ffc99a3b 03000000 03000000 aabbcc
    06000000 cf070000 02000000 02000000 ddee`),
  'pcap, big-endian, nanoseconds': hex(`
    a1b23c4d 0002 0004 00000000 00000000 0000ffff 00000001
    00000005 3b9ac9ff 00000003 00000003 aabbcc
    00000006 000007cf 00000002 00000002 ddee`),
  'pcapng, little-endian': hex(`
    0a0d0d0a 1c000000 4d3c2b1a 0100 0000 ffffffffffffffff 1c000000
    01000000 14000000 0100 0000 00000000 14000000
    06000000 24000000 00000000 00000000 01000000 03000000 03000000 aabbcc00 24000000
    0b0b0000 0c000000 0c000000
    06000000 24000000 00000000 00000000 03000000 02000000 02000000 ddee0000 24000000`),
  'pcapng, big-endian, nanoseconds, another interface, simple packet': hex(`
    0a0d0d0a 0000001c 1a2b3c4d 0001 0000 ffffffffffffffff 0000001c
    00000001 00000014 0001 0000 00000000 00000014
    00000001 00000020 0001 0000 00000000 0009 0001 09000000 0000 0000 00000020
    00000006 00000024 00000001 00000000 000007d0 00000003 00000003 aabbcc00 00000024
    00000003 00000014 00000002 ddee0000 00000014`),
};

const frames = (bytes: Uint8Array): string[] => {
  const c = parseCapture(bytes);
  return Array.from({ length: c.count }, (_, i) =>
    Buffer.from(c.bytes.subarray(c.offsets[i], c.offsets[i] + c.lengths[i])).toString('hex'),
  );
};

t.test('bytes made by hand are read in both formats and byte orders', (t) => {
  for (const [name, bytes] of Object.entries(golden)) t.same(frames(bytes), ['aabbcc', 'ddee'], name);
  const times = (name: string): number[] => [...parseCapture(golden[name]).timesNs];
  t.same(times('pcap, little-endian, microseconds'), [0, 2000]);
  t.same(times('pcap, big-endian, nanoseconds'), [0, 2000], 'a carry into the seconds');
  t.same(times('pcapng, little-endian'), [0, 2000]);
  t.same(times('pcapng, big-endian, nanoseconds, another interface, simple packet'), [0, 0]);
  t.end();
});

t.test('a file cut at any byte is read as far as whole records go, or refused; it never crashes', (t) => {
  for (const [name, bytes] of Object.entries(golden)) {
    let whole = 0;
    for (let n = 0; n < bytes.length; n++) {
      try {
        whole = Math.max(whole, parseCapture(bytes.subarray(0, n)).count);
      } catch (err) {
        if (!(err instanceof CaptureError)) throw err;
        if (err.message.includes('\n') || !/at byte \d+/.test(err.message)) t.fail(err.message);
      }
    }
    t.equal(whole, 1, name);
  }
  t.end();
});

t.test('any byte changed to any value gives frames or a CaptureError', (t) => {
  let read = 0;
  let refused = 0;
  const outside: string[] = [];
  for (const bytes of Object.values(golden))
    for (let at = 0; at < bytes.length; at++)
      for (const value of [0, 1, 0x7f, 0x80, 0xff]) {
        const copy = Uint8Array.from(bytes);
        copy[at] = value;
        try {
          const c = parseCapture(copy);
          read++;
          for (let i = 0; i < c.count; i++)
            if (c.offsets[i] + c.lengths[i] > copy.length) outside.push(`byte ${at} = ${value}: frame ${i}`);
        } catch (err) {
          if (!(err instanceof CaptureError)) throw err;
          refused++;
        }
      }
  t.same(outside, [], 'no frame lies outside the file');
  t.ok(read > 100 && refused > 100, `${read} were read, ${refused} refused`);
  t.end();
});

t.test('what is no capture of Ethernet is refused with the reason and the place', (t) => {
  const reason = (bytes: Uint8Array): string => {
    try {
      parseCapture(bytes);
      return 'accepted';
    } catch (err) {
      return (err as Error).message;
    }
  };
  t.match(reason(new Uint8Array(0)), /not a capture.*at byte 0/);
  t.match(reason(Buffer.from('GIF89a....................')), /not a capture/);
  const wifi = Uint8Array.from(golden['pcap, little-endian, microseconds']);
  wifi[20] = 105;
  t.match(reason(wifi), /link type 105 is not Ethernet.*at byte 20/);
  const huge = Uint8Array.from(golden['pcap, little-endian, microseconds']);
  huge.set([0xff, 0xff, 0xff, 0xff], 32);
  t.match(reason(huge), /impossible.*at byte 32/);
  t.match(reason(golden['pcapng, little-endian'].subarray(0, 40)), /truncated.*at byte 28/);
  t.end();
});

t.test('frames cut by snaplen are left out and counted', (t) => {
  const cut = Uint8Array.from(golden['pcap, little-endian, microseconds']);
  cut[36] = 60;
  const c = parseCapture(cut);
  t.equal(c.count, 1);
  t.equal(c.cut, 1);
  t.end();
});

t.test('the sample capture has 2738 frames', (t) => {
  const c = parseCapture(readFileSync(SAMPLE));
  t.match(c, { format: 'pcap', count: 2738, cut: 0 });
  const hosts = destinations(c);
  t.same(
    hosts.map((h) => h.frames),
    [1786, 951, 1],
  );
  t.equal(hosts[2]?.mac, 'ff:ff:ff:ff:ff:ff');
  t.end();
});

t.test('what is written is read back, frame by frame with its time', (t) => {
  const records = [
    { timeNs: 5_999_999_999, bytes: hex('aabbcc') },
    { timeNs: 6_000_000_100, bytes: hex('dd') },
  ];
  const file = writePcap(records);
  t.same(frames(file), ['aabbcc', 'dd']);
  t.same([...parseCapture(file).timesNs], [0, 101]);
  t.end();
});

t.test('a mapped host has its new address as destination and as source; nothing else changes', (t) => {
  const rewriter = new MacRewriter([{ from: '3a:fd:14:79:39:01', to: '02:00:00:00:00:01' }]);
  const frame = hex('3afd14793901 ffeeddccbbaa 0800 45');
  t.equal(rewriter.apply(frame, 0, frame.length), true);
  t.same(frame, hex('020000000001 ffeeddccbbaa 0800 45'));
  const sent = hex('ffeeddccbbaa 3AFD14793901 0800 45');
  rewriter.apply(sent, 0, sent.length);
  t.same(sent, hex('ffeeddccbbaa 020000000001 0800 45'));
  const short = hex('3afd147939');
  t.equal(rewriter.apply(short, 0, short.length), false);
  t.throws(() => new MacRewriter([{ from: 'ff:ff:ff:ff:ff:ff', to: '02:00:00:00:00:01' }]), RangeError);
  t.throws(() => new MacRewriter([{ from: '02:00', to: '02:00:00:00:00:01' }]), RangeError);
  t.end();
});

t.test('FCS that a file says is there is taken off, also of a frame that was cut inside it', (t) => {
  const pcap = Buffer.from(golden['pcap, little-endian, microseconds']);
  pcap.writeUInt32LE(0x14000001, 20);
  t.same(frames(pcap), ['aa', ''], 'two bytes of FCS by the field of the link type');
  pcap.writeUInt32LE(0xf0000001, 20);
  t.same(frames(pcap), ['aabbcc', 'ddee'], 'a length that the file does not vouch for is none');
  pcap.writeUInt32LE(0x14000001, 20);
  pcap.writeUInt32LE(5, 36);
  const c = parseCapture(pcap);
  t.same([c.count, c.cut, c.lengths[0]], [2, 0, 3], 'three of five bytes, of which two are FCS: whole');
  pcap.writeUInt32LE(6, 36);
  t.same([parseCapture(pcap).count, parseCapture(pcap).cut], [1, 1]);

  const withFcs = hex(`
    0a0d0d0a 1c000000 4d3c2b1a 0100 0000 ffffffffffffffff 1c000000
    01000000 20000000 0100 0000 00000000 0d00 0100 01000000 0000 0000 20000000
    06000000 24000000 00000000 00000000 01000000 03000000 03000000 aabbcc00 24000000
    06000000 30000000 00000000 00000000 01000000 03000000 03000000 aabbcc00 0200 0400 40000000 0000 0000 30000000
    03000000 14000000 02000000 ddee0000 14000000`);
  t.same(frames(withFcs), ['aabb', 'aa', 'dd'], 'if_fcslen; a frame whose flags say otherwise; a simple packet');
  t.end();
});

t.test('the packet block of old is read', (t) => {
  const old = hex(`
    0a0d0d0a 1c000000 4d3c2b1a 0100 0000 ffffffffffffffff 1c000000
    01000000 14000000 0100 0000 00000000 14000000
    02000000 24000000 0000 ffff 00000000 01000000 03000000 03000000 aabbcc00 24000000
    02000000 24000000 0000 0000 00000000 03000000 02000000 02000000 ddee0000 24000000`);
  t.same(frames(old), ['aabbcc', 'ddee']);
  t.same([...parseCapture(old).timesNs], [0, 2000]);
  t.end();
});

t.test('frames of interfaces that are not Ethernet are left out and counted, unless there are no others', (t) => {
  const head = `0a0d0d0a 1c000000 4d3c2b1a 0100 0000 ffffffffffffffff 1c000000
    01000000 14000000 1401 0000 00000000 14000000
    01000000 14000000 0100 0000 00000000 14000000`;
  const foreign = '06000000 24000000 00000000 00000000 01000000 03000000 03000000 aabbcc00 24000000';
  const own = '06000000 24000000 01000000 00000000 03000000 02000000 02000000 ddee0000 24000000';
  const both = parseCapture(hex(`${head} ${foreign} ${own} ${foreign}`));
  t.same([both.count, both.foreign, both.cut], [1, 2, 0]);
  t.throws(
    () => parseCapture(hex(`${head} ${foreign}`)),
    /interface 0: link type 276 \(Linux cooked.*\) is not Ethernet \(1\) \(at byte \d+\)/,
  );
  t.equal(parseCapture(hex(head)).count, 0, 'an interface without frames says nothing');
  t.end();
});
