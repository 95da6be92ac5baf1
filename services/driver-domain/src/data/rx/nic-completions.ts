/** Captures what the NIC put straight into a guest's pages: the driver domain sees that a frame came and how long it is, and
 *  none of its bytes. docs/wire/capture.md. */
import { NICQ_COMP_EOP, NICQ_COMP_ERROR, type DriverQueue, compFlags, compLen } from '@grantline/xen';
import { UNSEEN, INBOUND, type FrameTap } from '@grantline/observe';

export class NicCompletions {
  /** Bytes of the frame whose last buffer has not come. */
  private bytes = 0;

  /** @param n completions that were just dealt with, and not yet given back */
  capture(tap: FrameTap, queue: DriverQueue, n: number): void {
    for (let i = 0; i < n; i++) {
      const comp = queue.completion(i);
      const flags = compFlags(comp);
      // A buffer that the NIC refused belongs to no frame.
      if ((flags & NICQ_COMP_ERROR) !== 0) {
        this.bytes = 0;
        continue;
      }
      this.bytes += compLen(comp);
      if ((flags & NICQ_COMP_EOP) === 0) continue;
      tap.begin();
      tap.end(this.bytes, INBOUND, UNSEEN);
      this.bytes = 0;
    }
  }
}
