import fc from 'fast-check';
import t from 'tap';
import { Drill, quiet, type Seg } from '../drill.js';
import { IP_B, type Peer } from '../../testkit/peer.js';

/** RFC 9293, figure 5, with the ways to CLOSED that its text adds (resets, time-outs, abort), from one look to the next.
 *  A shutdown before the connection is open sends its FIN at once then. A segment with FIN and acknowledgement may pass two arrows at once, a call and the flush behind it too. */
const ARROWS: Record<string, string[]> = {
  'SYN-SENT': ['SYN-RECEIVED', 'ESTABLISHED', 'CLOSE-WAIT', 'FIN-WAIT-1', 'CLOSING'],
  'SYN-RECEIVED': ['ESTABLISHED', 'FIN-WAIT-1', 'FIN-WAIT-2', 'CLOSE-WAIT', 'CLOSING', 'TIME-WAIT'],
  ESTABLISHED: ['FIN-WAIT-1', 'CLOSE-WAIT'],
  'FIN-WAIT-1': ['FIN-WAIT-2', 'CLOSING', 'TIME-WAIT'],
  'FIN-WAIT-2': ['TIME-WAIT'],
  'CLOSE-WAIT': ['LAST-ACK'],
  CLOSING: ['TIME-WAIT'],
  'LAST-ACK': [],
  'TIME-WAIT': [],
  CLOSED: [],
};

const step = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      flags: fc.constantFrom('A', 'FA', 'SA', 'S', 'R', 'RA', 'FAU', ''),
      ahead: fc.constantFrom(0, 0, 0, -1, 1, 100, 70_000),
      ack: fc.constantFrom(0, 0, 0, 1, -1, 5000),
      bytes: fc.constantFrom(0, 0, 1, 100, 1460),
      win: fc.constantFrom(65535, 1000, 0),
    }),
  },
  { weight: 1, arbitrary: fc.record({ wait: fc.constantFrom(50, 1500, 3000) }) },
  { weight: 1, arbitrary: fc.record({ write: fc.constantFrom(1, 3000) }) },
  { weight: 1, arbitrary: fc.constant({ shutdown: true }) },
);

t.test('whatever a peer sends and an application calls, connections move along the arrows of RFC 9293 only', (t) => {
  const seen = new Set<string>();
  fc.assert(
    fc.property(fc.boolean(), fc.array(step, { minLength: 5, maxLength: 40, size: 'max' }), (active, steps) => {
      const d = new Drill({ retries: 3 });
      let p: Peer = quiet();
      if (active) {
        d.peerPort = 7000;
        p.connection = d.stack.connect(IP_B, 7000, p);
        d.stack.flush();
        d.port = d.sent()[0].port;
      } else {
        p = d.accept();
        d.stack.tcp.context.table.listeners.clear();
      }
      // What the peer would send next, and the highest of ours that it has seen.
      let next = active ? 0 : 1;
      let have = active ? 1 : 1;
      let before = p.connection!.state;
      for (const s of steps) {
        if ('wait' in s) d.advance(s.wait);
        else if ('write' in s) p.connection!.write(new Uint8Array(s.write));
        else if ('shutdown' in s) p.connection!.shutdown();
        else {
          const seg: Seg = {
            flags: s.flags,
            seq: next + s.ahead,
            ack: have + s.ack,
            data: s.bytes,
            win: s.win,
            mss: 1460,
          };
          d.receive(d.segment(seg));
        }
        d.stack.flush();
        for (const o of d.sent()) {
          have = Math.max(have, o.seq + o.len + (/[SF]/.test(o.flags) ? 1 : 0));
          if (o.flags.includes('A') && o.ack > 0) next = Math.max(next, o.ack);
        }
        const after = p.connection!.state;
        if (after !== before) {
          seen.add(`${before} ${after}`);
          if (after !== 'CLOSED' && !ARROWS[before].includes(after)) throw new Error(`${before} to ${after}`);
        }
        before = after;
      }
      p.connection!.abort();
      d.advance(10_000);
      const held = d.stack.held();
      return held.connections === 0 && held.bufferBytes === 0 && held.timers === held.neighbours;
    }),
    { numRuns: 400, seed: 12 },
  );
  for (const arrow of [
    'SYN-SENT SYN-RECEIVED',
    'SYN-SENT ESTABLISHED',
    'ESTABLISHED FIN-WAIT-1',
    'ESTABLISHED CLOSE-WAIT',
    'FIN-WAIT-1 FIN-WAIT-2',
    'FIN-WAIT-1 CLOSING',
    'FIN-WAIT-2 TIME-WAIT',
    'CLOSING TIME-WAIT',
    'CLOSE-WAIT LAST-ACK',
    'LAST-ACK CLOSED',
    'TIME-WAIT CLOSED',
  ])
    t.ok(seen.has(arrow), `walked: ${arrow}`);
  t.end();
});
