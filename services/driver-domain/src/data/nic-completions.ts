/** Captures what the NIC put straight into a guest's pages: the driver domain sees that a frame came and how long it is, and
 *  none of its bytes. docs/wire/capture.md. */
import { NICQ_COMP_EOP, NICQ_COMP_ERROR } from '@grantline/shared/abi/nic-queue.js';
import { UNSEEN } from '@grantline/shared/capture/drop-reasons.js';
import { INBOUND } from '@grantline/shared/capture/pcapng-blocks.js';
import type { FrameTap } from '@grantline/shared/capture/tap.js';
import type { Mem } from '@grantline/shared/mem/address-space.js';
import type { DriverQueue } from '@grantline/shared/nicq/driver-queue.js';

export class NicCompletions {
  /** Bytes of the frame whose last buffer has not come. */
  private bytes = 0;

  /** @param n completions that were just dealt with, and not yet given back */
  capture(tap: FrameTap, mem: Mem, queue: DriverQueue, n: number): void {
    for (let i = 0; i < n; i++) {
      const entry = mem.u32[queue.completion(i) >> 2];
      const flags = entry >>> 16;
      // A buffer that the NIC refused belongs to no frame.
      if ((flags & NICQ_COMP_ERROR) !== 0) {
        this.bytes = 0;
        continue;
      }
      this.bytes += entry & 0xffff;
      if ((flags & NICQ_COMP_EOP) === 0) continue;
      tap.begin();
      tap.end(this.bytes, INBOUND, UNSEEN);
      this.bytes = 0;
    }
  }
}
