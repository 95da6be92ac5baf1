/** The guest's stack is a kernel's: received frames go to it by a TAP device, from the granted pages that they lie in. */
import type { RxProbe } from '@grantline/observe';
import type { CounterBlock, AddressSpace } from '@grantline/machine';
import { RX_CSUM_BLANK, RX_MSS_MASK, framesOf, TapWriter, type TapOut } from '@grantline/measure';
import { MOST_RX_BATCH, type RxSink } from './rx-sink.js';

/** Pieces of a batch. */
const PIECES = 2 * MOST_RX_BATCH;

export class TapSink implements RxSink {
  /** Four packets of 45 frames: with fewer, half of what is joined ends at the end of a batch. */
  readonly batch = MOST_RX_BATCH;
  private readonly writer: TapWriter;
  private readonly counters: CounterBlock;
  private readonly off = new Int32Array(PIECES);
  private readonly len = new Int32Array(PIECES);
  private readonly more = new Uint8Array(PIECES);
  private readonly info = new Int32Array(PIECES);
  private pieces = 0;
  /** Of a capture in the guest. */
  probe: RxProbe | null = null;

  constructor(space: AddressSpace, tap: TapOut, counters: CounterBlock) {
    this.writer = new TapWriter(space, tap, counters);
    this.counters = counters;
  }

  /** Join TCP segments: the factor lro. */
  set lro(on: boolean) {
    this.writer.coalesce = on;
  }

  fragment(off: number, len: number, more: boolean, info = 0): void {
    const { probe } = this;
    if (probe !== null && probe.on) probe.fragment(off, len, more);
    const i = this.pieces;
    if (i === PIECES) throw new RangeError('more pieces than a batch has');
    this.pieces = i + 1;
    this.off[i] = off;
    this.len[i] = len;
    this.more[i] = more ? 1 : 0;
    this.info[i] = info;
  }

  /** The kernel's stack runs in here, as far as the socket: its time is that of the component `stack`. */
  process(): void {
    const { writer, pieces } = this;
    let info = 0;
    let first = true;
    for (let i = 0; i < pieces; i++) {
      // Told with the first piece, wanted with the last.
      if (first) info = this.info[i];
      const more = this.more[i] !== 0;
      first = !more;
      if (first && (info & RX_MSS_MASK) !== 0) writer.bulk(info & RX_MSS_MASK, framesOf(info));
      writer.piece(this.off[i], this.len[i], more, (info & RX_CSUM_BLANK) !== 0);
    }
    writer.flush();
    this.pieces = 0;
  }

  deliver(): void {
    if (this.probe !== null && this.probe.on) this.probe.settle();
    this.counters.commit();
  }
}
