import t from 'tap';
import fc from 'fast-check';
import { NICTX_COMP_SENT } from '@grantline/xen';
import { checksumsRight, tcpPacket, TSO, TxKit } from '../tx-kit.js';

t.test(
  'segments are the packet: headers in step, payload whole and in order, checksums right, flags where they belong',
  (t) => {
    fc.assert(
      fc.property(
        fc.record({
          bytes: fc.integer({ min: 1, max: 30000 }),
          mss: fc.integer({ min: 300, max: 8900 }),
          sequence: fc.constantFrom(1, 0xfffffff0, 0x7fffffff),
          id: fc.constantFrom(0, 7, 0xffff),
          flags: fc.constantFrom(0x10, 0x18, 0x19, 0x90),
          options: fc.constantFrom(0, 12, 40),
          sizes: fc
            .array(fc.integer({ min: 1, max: 4096 }), { minLength: 1, maxLength: 4 })
            .filter((s) => Math.min(...s) > 1800),
          start: fc.constantFrom(0, 0xfffffffe),
          seed: fc.integer(),
        }),
        ({ bytes, mss, sequence, id, flags, options, sizes, start, seed }) => {
          const k = new TxKit();
          const q = k.queue(1, 1, start);
          const payload = Uint8Array.from({ length: bytes }, (_, i) => (i * 31 + seed + (i >> 7)) & 255);
          const packet = tcpPacket({ payload, sequence, id, flags, options });
          const header = 54 + options;
          q.post(k.place(1, 1, packet, sizes), TSO, mss, 34, header);
          k.run();
          if (q.take().some((s) => s !== NICTX_COMP_SENT)) return false;
          const count = Math.ceil(bytes / mss);
          if (k.frames.length !== count) return false;
          let done = 0;
          return k.frames.every((frame, i) => {
            const part = Math.min(mss, bytes - done);
            const last = i === count - 1;
            // A packet that is short enough is sent as it is; its IP header is the guest's.
            const whole = count === 1;
            const wanted = (last ? flags : flags & ~0x09) & (i > 0 ? ~0x80 : 0xff);
            const ok =
              frame.readUInt16BE(16) === header - 14 + part &&
              frame.readUInt16BE(18) === ((whole ? id : id + i) & 0xffff) &&
              frame.readUInt32BE(38) === (sequence + done) >>> 0 &&
              frame[47] === wanted &&
              frame.subarray(header, header + part).equals(payload.subarray(done, done + part)) &&
              checksumsRight(frame.subarray(0, header + part));
            done += part;
            return ok;
          });
        },
      ),
      { numRuns: 25 },
    );
    t.end();
  },
);
