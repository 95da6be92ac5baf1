/** A guest that takes its frames slowly, or not at all, is to cost nobody else: neither the driver domain's buffers nor the tx ring
 *  of a guest that sends to it. */
import t from 'tap';
import type { DomId } from '@grantline/base';
import { FOREIGN, FOREIGN_PAGES, ForeignFrames, type TxSource } from '../../../src/data/bridge/buffers.js';
import { MAX_PENDING, TxPackets } from '../../../src/data/tx/tx-requests.js';
import { Arena, frameOf } from '../../kit.js';
import { BridgeBase, FIRST_GREF } from '../rx/netback-kit.js';

/** A sender whose packets of one slot each wait at the receiver. */
class Sender implements TxSource {
  readonly packets = new TxPackets();
  readonly headersPfn = 0;
  readonly headersAt = 0;
  readonly domid: DomId;
  private readonly x: BridgeBase;

  constructor(x: BridgeBase, domid: number) {
    this.x = x;
    this.domid = domid as DomId;
  }

  /** @returns slots of its ring that are not out */
  get room(): number {
    return this.packets.room;
  }

  send(count: number): void {
    const foreign = this.x.buffers.foreign!;
    for (let i = 0; i < count; i++) {
      const packet = this.packets.take();
      this.packets.headBytes[packet] = this.packets.total[packet] = 60;
      foreign.begin();
      const frame = foreign.make(this, packet, 0, 0, 60, 0);
      this.x.rx.deliver(FOREIGN + frame, 60);
      foreign.release(frame);
    }
  }

  copied(packet: number): void {
    this.packets.give(packet);
  }
}

function receiver(buffers = 64): BridgeBase {
  const x = new BridgeBase({ buffers, guestPages: 8 });
  x.buffers.foreign = new ForeignFrames(new Arena(FOREIGN_PAGES + 2).pages(FOREIGN_PAGES), 0);
  return x;
}

t.test('a guest that takes a frame now and then holds no more buffers than one that takes none (H5, H43)', (t) => {
  const x = receiver();
  for (let i = 0; i < 64; i++) x.deliver(frameOf(i, 60));
  for (let ms = 100; ms <= 3000; ms += 100) {
    x.meter.now = ms * 1e6;
    if (ms % 900 === 0) {
      x.front.post(FIRST_GREF);
      x.rx.poll();
      x.xen.replyAll();
      x.rx.poll();
      x.front.take();
      x.deliver(frameOf(ms, 60));
    }
    x.rx.tick(x.meter.now);
  }
  t.equal(x.v['outFrames'], 3);
  t.ok(x.buffers.held <= 32, `it holds ${x.buffers.held} of 64 buffers`);
  t.end();
});

t.test('each frame is dropped 10 s after it came, whatever the guest has taken meanwhile (H5)', (t) => {
  const x = receiver();
  for (let i = 0; i < 3; i++) x.deliver(frameOf(i, 60));
  x.meter.now = 9e9;
  x.deliver(frameOf(3, 60));
  x.front.post(FIRST_GREF);
  x.rx.poll();
  x.xen.replyAll();
  x.rx.poll();
  x.rx.tick(10e9);
  t.equal(x.v['dropStalled'], 2);
  t.equal(x.rx.inFlight, 1, 'the one that came last waits on');
  t.end();
});

t.test('a guest that takes nothing holds no more than half of the ring of a sender (H5)', (t) => {
  const x = receiver(256);
  const crowded = new Sender(x, 2);
  const other = new Sender(x, 3);
  other.send(10);
  crowded.send(MAX_PENDING);
  other.send(10);
  x.rx.tick(0.99e9);
  t.equal(crowded.room, 0, 'for a moment it may: that is how a slow guest holds its sender');
  x.rx.tick(1.01e9);
  t.equal(crowded.room, MAX_PENDING / 2);
  t.equal(other.room, MAX_PENDING - 20, 'who sent less loses nothing');
  x.meter.now = 1.5e9;
  crowded.send(1);
  t.equal(crowded.room, MAX_PENDING / 2, 'nor does it get more');
  t.equal(x.v['dropQueueFull'], MAX_PENDING / 2 + 1);
  t.end();
});
