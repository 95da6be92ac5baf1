import fc from 'fast-check';
import t from 'tap';
import { BRIDGE_COUNTERS } from '@grantline/observe';
import { BridgeTable, Bridge } from '../../../src/data/bridge/bridge.js';
import { Buffers } from '../../../src/data/bridge/buffers.js';
import { Arena, block, frameOf } from '../../kit.js';

const PORTS = 4;
const MAX_AGE_S = 300;

interface Step {
  dst: number;
  src: number;
  ingress: number;
  waitS: number;
  sweep: boolean;
  looped: boolean;
}

/** Few addresses, so that they meet; number 7 is a group, 6 is static at port 3. */
const macOf = (n: number): number[] => (n === 7 ? [1, 0, 0x5e, 0, 0, n] : [2, 0, 0, 0, n * 32, n]);
const text = (mac: number[]): string => mac.map((b) => b.toString(16).padStart(2, '0')).join(':');

t.test('the bridge does what a map with times would do', (t) => {
  const step = fc.record({
    dst: fc.integer({ min: 0, max: 7 }),
    src: fc.integer({ min: 0, max: 7 }),
    ingress: fc.integer({ min: 0, max: PORTS - 1 }),
    waitS: fc.constantFrom(0, 0, 0, 1, 100, 200),
    sweep: fc.boolean(),
    looped: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 120, size: 'max' }), (steps: Step[]) => {
      const arena = new Arena(4);
      const buffers = new Buffers(arena.pages(1), 1, 1);
      const counters = block(BRIDGE_COUNTERS);
      const bridge = new Bridge(arena.mem, buffers, counters, new BridgeTable(16), MAX_AGE_S * 1e9);
      const got: number[] = [];
      for (let p = 0; p < PORTS; p++) bridge.attach(p, { deliver: () => void got.push(p) });
      bridge.setStatic(text(macOf(6)), 3);
      const model = new Map<number, { port: number; at: number }>();
      const ids = Int16Array.of(0);
      const lens = Uint16Array.of(60);
      let now = 1e12;
      for (const s of steps) {
        now += s.waitS * 1e9;
        if (s.sweep) {
          bridge.sweep(now);
          for (const [mac, { at }] of model) if (at < now - MAX_AGE_S * 1e9) model.delete(mac);
        }
        arena.mem.u8.set(frameOf(0, 60, macOf(s.dst), macOf(s.src)), buffers.offset(0));
        got.length = 0;
        bridge.forward(ids, lens, 1, s.ingress, now, Uint8Array.of(s.looped ? 8 : 0));
        if (s.src < 6 && !s.looped) model.set(s.src, { port: s.ingress, at: now });
        const known = s.dst === 6 ? 3 : model.get(s.dst)?.port;
        // What a guest sent past the bridge is not flooded back to it.
        const home = (s.looped ? (s.src === 6 ? 3 : model.get(s.src)?.port) : undefined) ?? s.ingress;
        const all = Array.from({ length: PORTS }, (_, p) => p).filter((p) => p !== s.ingress && p !== home);
        const want = known === undefined ? all : known === s.ingress ? [] : [known];
        if (got.join() !== want.join()) throw new Error(`got ${got.join()}, want ${want.join()}`);
      }
      const v = counters.read();
      if (v['inFrames'] !== v['forwarded'] + v['flooded'] + v['dropHairpin'] + v['dropNoPort'])
        throw new Error('frames are missing');
      if (bridge.table.learnedCount !== model.size) throw new Error('table and model differ in size');
    }),
    { numRuns: 300 },
  );
  t.end();
});

t.test('the table finds exactly what was put and not removed, in whatever order', (t) => {
  const op = fc.record({ mac: fc.integer({ min: 0, max: 40 }), put: fc.boolean() });
  fc.assert(
    fc.property(fc.array(op, { maxLength: 200, size: 'max' }), (ops) => {
      const table = new BridgeTable(64);
      const model = new Map<number, number>();
      for (const { mac, put } of ops) {
        if (put && (model.has(mac) || model.size < table.maxLearned)) {
          table.learn(mac, mac * 0x10001, mac % 5, 0);
          model.set(mac, mac % 5);
        } else if (!put) {
          table.remove(mac, mac * 0x10001);
          model.delete(mac);
        }
        for (let m = 0; m <= 40; m++) {
          const slot = table.find(m, m * 0x10001);
          if ((slot >= 0 ? table.port[slot] : undefined) !== model.get(m)) throw new Error(`address ${m}`);
        }
      }
    }),
    { numRuns: 200 },
  );
  t.end();
});
