import fc from 'fast-check';
import t from 'tap';
import { GNTST, NETIF_NR_SLOTS_MIN } from '@grantline/xen';
import { frameOf } from '../../kit.js';
import { FIRST_GREF, NicBase } from './netback-kit.js';

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
const MORE = 4;
const EXTRA = 8;

type Response = ReturnType<NicBase['front']['take']>[number];
/** What the NIC delivered: its bytes, and how many frames it stands for. */
interface Sent {
  bytes: Uint8Array;
  frames: number;
  isPacket: boolean;
}

/** The guest, by netfront's rules: the first response without "more" ends a frame, whatever its status; one error spoils all of
 *  it; extra info stands behind the first response alone; a frame has no more slots than any may have. */
class Netfront {
  readonly sent: Sent[] = [];
  /** Frames that came, and that did not. */
  good = 0;
  lost = 0;
  errors = 0;
  private readonly x: NicBase;
  private responses: Response[] = [];
  /** Frames of several responses that failed since the last good one; the rest of one that was too long is none. */
  private torn = 0;
  private cutShort = false;

  constructor(x: NicBase) {
    this.x = x;
  }

  get waiting(): number {
    return this.responses.length;
  }

  take(): void {
    const fresh = this.x.front.take();
    const pinned = new Set(this.x.xen.pins.values());
    if (fresh.some((r) => pinned.has(r.gref))) throw new Error('the guest was told of a page that is still pinned');
    this.responses.push(...fresh);
    for (let n = this.whole(); n > 0; n = this.whole()) this.frame(this.responses.splice(0, n));
  }

  /** All has come: what was sent and is not there is lost. */
  finish(): void {
    this.take();
    if (this.responses.length > 0) throw new Error('a frame without an end');
    this.lose(this.sent.length);
  }

  /** @returns responses of the frame that stands first; 0 when its end is not there */
  private whole(): number {
    const { responses } = this;
    for (let i = 0, parts = 1; i < responses.length; i++, parts++) {
      const { flags } = responses[i];
      if ((flags & EXTRA) !== 0 && i++ > 0) throw new Error('extra info in the middle of a frame');
      if ((flags & MORE) === 0) return i < responses.length ? i + 1 : 0;
      if (parts === NETIF_NR_SLOTS_MIN) throw new Error('a frame with more slots than any may have');
    }
    return 0;
  }

  private frame(parts: Response[]): void {
    const { flags } = parts[0];
    const isPacket = (flags & EXTRA) !== 0;
    if (isPacket) {
      const [info] = parts.splice(1, 1);
      if (flags !== 14 || (info.id & 0xff) !== 1 || info.offset !== MSS || info.flags !== 1)
        throw new Error('bad extra info');
    }
    if (parts.some((r) => r.status < 0)) {
      this.errors++;
      if (parts.length > 1 && !this.cutShort) this.torn++;
      this.cutShort = parts.length === NETIF_NR_SLOTS_MIN;
      return;
    }
    this.cutShort = false;
    const bytes = this.x.bytesOf(parts);
    const k = this.sent.findIndex((s) => Buffer.compare(s.bytes, bytes) === 0);
    if (k < 0) throw new Error(`a frame of ${bytes.length} that nobody sent`);
    this.lose(k);
    const { frames, isPacket: want } = this.sent.shift()!;
    if (want !== isPacket) throw new Error('a packet that does not say so, or a frame that says it is one');
    this.good += frames;
  }

  /** The next n that were sent are lost. */
  private lose(n: number): void {
    for (const { frames } of this.sent.splice(0, n)) this.lost += frames;
    if (n < this.torn) throw new Error(`${this.torn} frames are torn, ${n} lost`);
    if (n > this.errors) throw new Error('a frame is lost without an error');
    this.torn = 0;
  }
}

interface Setting {
  start: number;
  /** Every which page is in the pool. 0: none. */
  poolEvery: number;
  /** Some pages are refused by the hypervisor; of some the unpin fails. */
  refuses: boolean;
  badUnpins: boolean;
}

const settings: fc.Arbitrary<Setting> = fc.record({
  start: fc.integer({ min: 0xfffffe00, max: 0xffffffff }),
  poolEvery: fc.integer({ min: 0, max: 3 }),
  refuses: fc.boolean(),
  badUnpins: fc.boolean(),
});

class Run {
  readonly x: NicBase;
  readonly guest: Netfront;
  /** Frames that the NIC delivered. */
  delivered = 0;
  private gref = 0;
  private n = 0;

  constructor(bufferBytes: number, { start, poolEvery, refuses, badUnpins }: Setting) {
    const x = new NicBase({ start, bufferBytes, guestPages: PAGES });
    for (let i = 0; i < PAGES; i++) if (poolEvery > 0 && i % poolEvery === 0) x.pooled(FIRST_GREF + i);
    if (refuses) for (let i = 5; i < PAGES; i += 17) x.xen.refuses.set(FIRST_GREF + i, GNTST.generalError);
    if (badUnpins) for (let i = 3; i < PAGES; i += 13) x.xen.badUnpins.add(FIRST_GREF + i);
    this.x = x;
    this.guest = new Netfront(x);
  }

  ops(list: readonly Op[]): void {
    for (const o of list) this.op(o);
  }

  /** Until nothing moves. */
  settle(): void {
    for (let i = 0; i < 60; i++) {
      this.guest.take();
      this.x.rx.poll();
      this.x.xen.replyAll();
    }
    this.guest.finish();
  }

  private op(o: Op): void {
    const { x, guest } = this;
    if (o.op === 'frame') this.deliver(o.len, 1, false);
    else if (o.op === 'packet') this.deliver(o.len, o.frames, true);
    else if (o.op === 'poll') {
      if (x.rx.poll() === 0) x.rx.arm();
    } else if (o.op === 'reply') x.xen.reply();
    else if (o.op === 'take') guest.take();
    else {
      guest.take();
      for (let i = 0; i < o.n && x.front.posted.length + guest.waiting < 256; i++)
        x.front.post(FIRST_GREF + (this.gref++ % PAGES), x.bufferBytes === 2048 ? (this.gref & 1) * 2048 : 0);
    }
  }

  private deliver(len: number, frames: number, isPacket: boolean): void {
    const { nic } = this.x;
    const bytes = frameOf(this.n++, len);
    if (nic.receive(bytes, 0, isPacket ? { frames, mss: MSS } : null)) {
      this.guest.sent.push({ bytes, frames, isPacket });
      this.delivered += frames;
    }
    nic.publish();
  }
}

for (const bufferBytes of [4096, 2048])
  t.test(
    `buffers of ${bufferBytes} are pinned, posted, unpinned and answered strictly in ring order, pooled or not`,
    (t) => {
      fc.assert(
        fc.property(settings, fc.array(ops, { maxLength: 200, size: 'max' }), (setting, list) => {
          const run = new Run(bufferBytes, setting);
          const { x, guest } = run;
          run.ops(list);
          run.settle();
          const { v } = x;
          if (v['nicFrames'] !== run.delivered) throw new Error('frames that the NIC delivered are not counted');
          if (v['nicFrames'] !== v['outFrames'] + v['dropGrantError']) throw new Error('frames do not add up');
          if (v['dropGrantError'] !== guest.lost) throw new Error(`${guest.lost} lost, ${v['dropGrantError']} counted`);
          if (v['outFrames'] !== guest.good) throw new Error('frames that nobody saw');
          if (x.faults.length > 0) throw new Error(x.faults.join());
          const { poolEvery, refuses, badUnpins } = setting;
          if (poolEvery === 1 && v['hypercalls'] + v['pinOps'] !== 0) throw new Error('a call though all grants stand');
          if (!refuses && !badUnpins && guest.errors > 0) throw new Error('an error without a reason');
          // Pins that are left belong to buffers that are posted: the rest went with the answers.
          const left = x.xen.pins.size;
          x.rx.stop();
          x.rx.takePins((handle) => x.xen.unpin(handle));
          if (x.xen.pins.size !== 0) throw new Error('pins are left after the release');
          if (v['pinOps'] !== v['unpinOps'] + left + v['badRequests'])
            throw new Error(`pins ${v['pinOps']}, unpins ${v['unpinOps']}, left ${left}`);
        }),
        { numRuns: 150 },
      );
      t.end();
    },
  );

t.test('whenever the vif stops, each frame that the NIC delivered went out or is counted as dropped', (t) => {
  fc.assert(
    fc.property(
      settings,
      fc.constantFrom(2048, 4096),
      fc.array(ops, { maxLength: 120, size: 'max' }),
      fc.array(ops, { maxLength: 5 }),
      fc.boolean(),
      (setting, bufferBytes, list, after, repliesFirst) => {
        const run = new Run(bufferBytes, setting);
        const { x, guest } = run;
        run.ops(list);
        if (repliesFirst) x.xen.replyAll();
        x.rx.stop();
        run.ops(after.filter((o) => o.op !== 'post'));
        x.rx.drain();
        x.xen.replyAll();
        guest.take();
        const { v } = x;
        if (v['nicFrames'] !== run.delivered) throw new Error(`${run.delivered} delivered, ${v['nicFrames']} counted`);
        const dropped = v['dropGrantError'] + v['dropDisabled'];
        if (v['nicFrames'] !== v['outFrames'] + dropped)
          throw new Error(`${v['nicFrames']} in, ${v['outFrames']} out, ${dropped} dropped`);
      },
    ),
    { numRuns: 300 },
  );
  t.end();
});
