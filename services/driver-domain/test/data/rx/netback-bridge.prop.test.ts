import fc from 'fast-check';
import t from 'tap';
import { frameOf } from '../../kit.js';
import { BridgeBase, FIRST_GREF, framesIn } from './netback-kit.js';

type Op = { op: 'frame'; len: number } | { op: 'post'; n: number } | { op: 'poll' } | { op: 'reply' } | { op: 'take' };

const ops: fc.Arbitrary<Op> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      op: fc.constant('frame' as const),
      len: fc.oneof(
        fc.integer({ min: 14, max: 1514 }),
        fc.integer({ min: 1515, max: 9014 }),
        fc.constantFrom(2048, 4096, 4097, 8192),
      ),
    }),
  },
  { weight: 3, arbitrary: fc.record({ op: fc.constant('post' as const), n: fc.integer({ min: 1, max: 40 }) }) },
  { weight: 4, arbitrary: fc.constant({ op: 'poll' as const }) },
  { weight: 3, arbitrary: fc.constant({ op: 'reply' as const }) },
  { weight: 2, arbitrary: fc.constant({ op: 'take' as const }) },
);

const PAGES = 128;

for (const bufferBytes of [4096, 2048])
  t.test(
    `frames arrive whole and in order in buffers of ${bufferBytes}, whatever the timing; each buffer is released once`,
    (t) => {
      fc.assert(
        fc.property(
          fc.integer({ min: 0xffffff00, max: 0xffffffff }),
          fc.integer({ min: 0, max: 2 }),
          fc.array(ops, { maxLength: 150, size: 'max' }),
          (start, poolEvery, list) => {
            const x = new BridgeBase({ start, bufferBytes, guestPages: PAGES, buffers: 48 });
            // None, all, or every other grant stands.
            for (let i = 0; i < PAGES; i++) if (poolEvery > 0 && i % poolEvery === 0) x.pooled(FIRST_GREF + i);
            const sent: Uint8Array[] = [];
            let gref = 0;
            let n = 0;
            const responses: ReturnType<typeof x.front.take> = [];
            const check = (): void => {
              responses.push(...x.front.take());
              const frames = framesIn(responses);
              const last = frames.at(-1);
              const whole = last && (last.at(-1)!.flags & 4) === 0 ? frames.length : frames.length - 1;
              for (let f = 0; f < whole; f++) {
                const got = x.bytesOf(frames[f]);
                const want = sent.shift()!;
                if (Buffer.compare(got, want) !== 0)
                  throw new Error(`a frame of ${want.length} came as ${got.length} bytes`);
              }
              responses.splice(0, responses.length, ...frames.slice(whole).flat());
            };
            const run = (o: Op): void => {
              if (o.op === 'frame') {
                const frame = frameOf(n++, o.len);
                const before = x.v['dropQueueFull'];
                if (x.deliver(frame) && x.v['dropQueueFull'] === before) sent.push(frame);
              } else if (o.op === 'post') {
                // A page is posted again only when its frame was looked at: PAGES / 2 halves are never all out.
                for (let i = 0; i < o.n && x.front.posted.length + responses.length < PAGES; i++)
                  x.front.post(FIRST_GREF + (gref++ % PAGES), bufferBytes === 2048 ? (gref & 1) * 2048 : 0);
              } else if (o.op === 'poll') {
                if (x.rx.poll() === 0) x.rx.arm();
              } else if (o.op === 'reply') x.xen.reply();
              else check();
              const v = x.v;
              const out =
                v['outFrames'] + v['dropQueueFull'] + v['dropGrantError'] + v['dropStalled'] + v['dropDisabled'];
              if (v['bridgeFrames'] !== out + x.rx.inFlight)
                throw new Error(`in ${v['bridgeFrames']}, out ${out}, in flight ${x.rx.inFlight}`);
            };
            for (const o of list) {
              // Before new pages are offered, what they hold is looked at.
              if (o.op === 'post') run({ op: 'take' });
              run(o);
            }
            for (let i = 0; i < 400 && (sent.length > 0 || x.rx.inFlight > 0); i++) {
              run({ op: 'take' });
              run({ op: 'post', n: 40 });
              run({ op: 'poll' });
              x.xen.replyAll();
            }
            run({ op: 'poll' });
            run({ op: 'take' });
            if (sent.length > 0) throw new Error(`${sent.length} frames never came`);
            if (x.buffers.held !== 0 || x.buffers.available !== x.buffers.count)
              throw new Error(`buffers: ${JSON.stringify(x.buffers.describe())}`);
            if (poolEvery === 1 && x.v['copyOps'] !== 0) throw new Error('a grant copy though all grants stand');
            if (poolEvery === 0 && x.v['localCopies'] !== 0)
              throw new Error('a copy of our own though no grant stands');
          },
        ),
        { numRuns: 120 },
      );
      t.end();
    },
  );
