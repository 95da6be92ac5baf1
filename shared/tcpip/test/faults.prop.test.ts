import fc from 'fast-check';
import t from 'tap';
import { EchoApp, bulkMemory } from '../src/apps/bulk.js';
import { IP_B, Peer, pattern } from '../testkit/peer.js';
import { World, join, type Faults } from './world.js';

/** All that both sides hold, neighbours apart. */
function leftovers(world: World): unknown {
  return [world.a, world.b].map((side) => {
    const { neighbours, timers, ...held } = side.stack.held();
    return { ...held, timers: timers - neighbours };
  });
}
const NOTHING = { connections: 0, timeWait: 0, timers: 0, bufferBytes: 0, datagrams: 0 };

t.test(
  'under loss, reordering, duplication and corruption every byte arrives once and in order, or there is an error',
  (t) => {
    let failed = 0;
    fc.assert(
      fc.property(
        fc.record({
          seed: fc.integer({ min: 1, max: 0x7fffffff }),
          loss: fc.integer({ min: 0, max: 80 }),
          duplicate: fc.integer({ min: 0, max: 60 }),
          corrupt: fc.integer({ min: 0, max: 30 }),
          reorder: fc.integer({ min: 0, max: 200 }),
          delayUs: fc.integer({ min: 1, max: 20_000 }),
          extraUs: fc.integer({ min: 0, max: 5000 }),
        }),
        fc.integer({ min: 0, max: 200_000 }),
        fc.integer({ min: 0, max: 60_000 }),
        fc.record({
          sack: fc.boolean(),
          timestamps: fc.boolean(),
          windowScale: fc.boolean(),
          gso: fc.constantFrom(0, 65535),
        }),
        fc.boolean(),
        (faults: Faults, up, down, settings, coalesce) => {
          // Sequence numbers start just below 2^32, so that every run wraps.
          const side = { settings: { ...settings, receiveBuffer: 65536 }, coalesce, isn: () => -1000 };
          const world = new World(faults, side, side);
          const client = new Peer(pattern(up, faults.seed));
          const server = new Peer(pattern(down, faults.seed + 1));
          join(world, client, server);
          const done = (): boolean => client.error >= 0 && (server.connection === null || server.error >= 0);
          if (!world.run(3_600_000, done)) throw new Error(`no end: ${client.events.join()} / ${server.events.join()}`);
          const whole = Buffer.compare(server.data, pattern(up, faults.seed)) === 0;
          const back = Buffer.compare(client.data, pattern(down, faults.seed + 1)) === 0;
          if (client.error === 0 && server.error === 0) {
            if (!whole || !back) throw new Error(`differs: ${server.received} of ${up}, ${client.received} of ${down}`);
          } else {
            failed++;
            // What did arrive is a beginning of what was sent.
            const n = server.received;
            if (Buffer.compare(server.data, pattern(up, faults.seed).subarray(0, n)) !== 0)
              throw new Error('not a prefix');
          }
          world.faults = { ...faults, loss: 0, corrupt: 0 };
          client.connection?.close();
          server.connection?.close();
          world.run(120_000);
          t.same(leftovers(world), [NOTHING, NOTHING]);
        },
      ),
      { numRuns: 60, seed: 4 },
    );
    t.ok(failed < 6, `${failed} of 60 connections failed`);
    t.end();
  },
);

t.test(
  'an echo, whose directions hold each other back, gets through a cable that is gone for a moment again and again',
  (t) => {
    const memory = bulkMemory({ v: new Float64Array(4), commit: () => {} });
    let longest = 0;
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 0x7fffffff }),
        fc.constantFrom(1 << 14, 1 << 16),
        fc.array(fc.record({ on: fc.integer({ min: 1, max: 60 }), off: fc.integer({ min: 1, max: 40 }) }), {
          minLength: 4,
          maxLength: 8,
        }),
        fc.integer({ min: 500, max: 20_000 }),
        (seed, buffer, gaps, portion) => {
          const side = { settings: { receiveBuffer: buffer, sendBuffer: buffer }, isn: () => -1000 };
          const world = new World({ seed, loss: 5, delayUs: 100 }, side, side);
          const sent = pattern(300_000, seed);
          const client = new Peer(sent);
          client.reading = false;
          client.onEnd = (): void => {};
          world.b.stack.listen(80, (c) => new EchoApp(c, memory));
          client.connection = world.a.stack.connect(IP_B, 80, client);
          // Reads slowly: windows close.
          const bite = new Uint8Array(portion);
          const got: Uint8Array[] = [];
          let bytes = 0;
          const begin = world.nowNs;
          const read = (ms: number): void => {
            for (let i = 0; i < ms; i++) {
              world.run(1);
              const n = client.connection!.read(bite);
              got.push(bite.slice(0, n));
              bytes += n;
            }
          };
          for (const { on, off } of gaps) {
            read(on);
            world.filter = () => false;
            read(off);
            world.filter = () => true;
          }
          while (bytes < sent.length && client.error <= 0 && world.nowNs - begin < 10e9) read(10);
          longest = Math.max(longest, (world.nowNs - begin) / 1e9);
          if (Buffer.compare(Buffer.concat(got), sent) !== 0) throw new Error(`${bytes} bytes, error ${client.error}`);
        },
      ),
      { numRuns: 25, seed: 5 },
    );
    t.ok(longest < 10, `the longest took ${longest.toFixed(1)} s`);
    t.end();
  },
);
