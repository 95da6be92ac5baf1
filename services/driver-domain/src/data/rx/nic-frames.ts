/** Counts what becomes of the frames of the guest's NIC queue, when the last of their buffers is answered. Usually a
 *  frame stands in one buffer; a longer one in several. */
import { NICQ_COMP_ERROR } from '@grantline/xen';
import { slots, type CounterBlock } from '@grantline/machine';
import { NETBACK_COUNTERS } from '@grantline/observe';

const C = slots(NETBACK_COUNTERS);

export class NicFrames {
  /** Bytes of the frame whose first buffers are answered already, and whether one of them failed. */
  bytes = 0;
  private failed = false;
  private readonly counters: CounterBlock;

  constructor(counters: CounterBlock) {
    this.counters = counters;
  }

  /** The NIC gave a buffer back without data that can be used: it refused it (then it belongs to no frame), or says a
   *  length that the buffer does not have. @param flags of the completion */
  nicError(flags: number): void {
    const v = this.counters.v;
    if ((flags & NICQ_COMP_ERROR) !== 0) v[C.badRequests]++;
    else v[C.dropNicError]++;
  }

  /** The NIC gave up the frame at hand. */
  abandon(): void {
    this.bytes = 0;
    this.failed = false;
  }

  /** A buffer between those of a frame was refused: then the guest cannot use that frame. */
  interrupted(): void {
    if (this.bytes > 0) this.failed = true;
  }

  /** A frame is answered in full. @param len bytes in its last buffer */
  end(len: number): void {
    const v = this.counters.v;
    if (this.failed) v[C.dropGrantError]++;
    else {
      v[C.outFrames]++;
      v[C.outBytes] += this.bytes + len;
    }
    this.abandon();
  }
}
