import fc from 'fast-check';
import t from 'tap';
import { GNTST } from '@grantline/xen';
import { frameOf } from '../../kit.js';
import { FIRST_GREF, NicBase, framesIn } from './netback-kit.js';

type Op =
  | { op: 'frame'; len: number }
  | { op: 'packet'; len: number; frames: number }
  | { op: 'post'; n: number }
  | { op: 'poll' }
  | { op: 'reply' }
  | { op: 'take' };

const ops: fc.Arbitrary<Op> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      op: fc.constant('frame' as const),
      len: fc.oneof(fc.integer({ min: 14, max: 1514 }), fc.integer({ min: 1515, max: 9014 })),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      op: fc.constant('packet' as const),
      len: fc.integer({ min: 5000, max: 18 * 2048 }),
      frames: fc.integer({ min: 2, max: 128 }),
    }),
  },
  { weight: 3, arbitrary: fc.record({ op: fc.constant('post' as const), n: fc.integer({ min: 1, max: 60 }) }) },
  { weight: 5, arbitrary: fc.constant({ op: 'poll' as const }) },
  { weight: 4, arbitrary: fc.constant({ op: 'reply' as const }) },
  { weight: 2, arbitrary: fc.constant({ op: 'take' as const }) },
);

const PAGES = 300;
const MSS = 1448;

for (const bufferBytes of [4096, 2048])
  t.test(
    `buffers of ${bufferBytes} are pinned, posted, unpinned and answered strictly in ring order, pooled or not`,
    (t) => {
      fc.assert(
        fc.property(
          fc.integer({ min: 0xfffffe00, max: 0xffffffff }),
          fc.integer({ min: 0, max: 3 }),
          fc.boolean(),
          fc.array(ops, { maxLength: 200, size: 'max' }),
          (start, poolEvery, bad, list) => {
            const x = new NicBase({ start, bufferBytes, guestPages: PAGES });
            for (let i = 0; i < PAGES; i++) if (poolEvery > 0 && i % poolEvery === 0) x.pooled(FIRST_GREF + i);
            // Some pages are refused by the hypervisor.
            if (bad) for (let i = 5; i < PAGES; i += 17) x.xen.refuses.set(FIRST_GREF + i, GNTST.generalError);
            // Of each its bytes, and how many frames it stands for: 1, it is a frame.
            const sent: { frame: Uint8Array; frames: number }[] = [];
            let gref = 0;
            let n = 0;
            let errors = 0;
            let lost = 0;
            let outFrames = 0;
            const responses: ReturnType<typeof x.front.take> = [];
            const check = (): void => {
              const fresh = x.front.take();
              const pinned = new Set(x.xen.pins.values());
              if (fresh.some((r) => pinned.has(r.gref)))
                throw new Error('the guest was told of a page that is still pinned');
              responses.push(...fresh);
              for (;;) {
                // A frame is whole at the first response without "more"; refused pages in between spoil it.
                const isInfo = (i: number): boolean => i > 0 && (responses[i - 1].flags & 8) !== 0;
                const end = responses.findIndex((r, i) => r.status >= 0 && (r.flags & 4) === 0 && !isInfo(i));
                if (end < 0) break;
                const parts = responses.splice(0, end + 1);
                // A packet that a refused page tore begins with an error that says "more".
                const first = parts.findIndex((r) => r.status >= 0 || (r.flags & 4) !== 0);
                errors += parts.filter((r) => r.status < 0 && (r.flags & 4) === 0).length;
                const { frame: want, frames } = sent.shift()!;
                const frame = parts.slice(first);
                if (frame.some((r) => r.status < 0)) {
                  lost += frames;
                  continue;
                }
                if (frames > 1) {
                  if (frame[0].flags !== 14) throw new Error('a packet that does not say so');
                  // What it is stands in the second slot.
                  const [info] = frame.splice(1, 1);
                  if ((info.id & 0xff) !== 1 || info.offset !== MSS || info.flags !== 1)
                    throw new Error('bad extra info');
                } else if ((frame[0].flags & 8) !== 0) throw new Error('a frame that says it is a packet');
                if (framesIn(frame).length !== 1) throw new Error('the flags tear a frame apart');
                outFrames += frames;
                if (Buffer.compare(x.bytesOf(frame), want) !== 0)
                  throw new Error(`a frame of ${want.length} came wrong`);
              }
            };
            const run = (o: Op): void => {
              if (o.op === 'frame') {
                const frame = frameOf(n++, o.len);
                if (x.nic.receive(frame)) sent.push({ frame, frames: 1 });
                x.nic.publish();
              } else if (o.op === 'packet') {
                const frame = frameOf(n++, o.len);
                if (x.nic.receive(frame, 0, { frames: o.frames, mss: MSS })) sent.push({ frame, frames: o.frames });
                x.nic.publish();
              } else if (o.op === 'post') {
                for (let i = 0; i < o.n && x.front.posted.length + responses.length < 256; i++)
                  x.front.post(FIRST_GREF + (gref++ % PAGES), bufferBytes === 2048 ? (gref & 1) * 2048 : 0);
              } else if (o.op === 'poll') {
                if (x.rx.poll() === 0) x.rx.arm();
              } else if (o.op === 'reply') x.xen.reply();
              else check();
            };
            for (const o of list) {
              if (o.op === 'post') run({ op: 'take' });
              run(o);
            }
            for (let i = 0; i < 60; i++) {
              run({ op: 'take' });
              run({ op: 'poll' });
              x.xen.replyAll();
            }
            run({ op: 'take' });
            if (sent.length > 0) throw new Error(`${sent.length} frames never came`);
            const v = x.v;
            if (v['nicFrames'] !== v['outFrames'] + v['dropGrantError'] || v['dropGrantError'] !== lost)
              throw new Error('frames do not add up');
            if (v['outFrames'] !== outFrames) throw new Error('frames that nobody saw');
            if (x.faults.length > 0) throw new Error(x.faults.join());
            if (poolEvery === 1 && !bad && v['hypercalls'] !== 0)
              throw new Error('a hypercall though all grants stand');
            if (poolEvery === 1 && v['pinOps'] !== 0) throw new Error('a pin though all grants stand');
            // Pins that are left belong to buffers that are posted: the rest went with the answers.
            const left = x.xen.pins.size;
            x.rx.stop();
            x.rx.takePins((handle) => x.xen.unpin(handle));
            if (x.xen.pins.size !== 0) throw new Error('pins are left after the release');
            if (v['pinOps'] !== v['unpinOps'] + left + v['badRequests'])
              throw new Error(`pins ${v['pinOps']}, unpins ${v['unpinOps']}, left ${left}`);
            if (errors > v['badRequests']) throw new Error('an error without a reason');
          },
        ),
        { numRuns: 150 },
      );
      t.end();
    },
  );
