/** The three pages of a NIC queue. The hypervisor may take them back at any time, so they are looked up again in each
 *  burst. A table entry of the queue's own pages must name the driver itself, not the target: a driver domain's rings
 *  are its own memory, also where the buffers on them are a guest's. */
import type { BurstGuard, DmaReader } from './dma.js';
import type { QueueSettings } from './queue-types.js';

export class QueuePages {
  /** Byte offsets in mem. */
  readonly header: number;
  readonly avail: number;
  readonly comp: number;
  private readonly dma: DmaReader;
  private readonly guard: BurstGuard;
  private readonly settings: QueueSettings;
  private checkedIn = 0;

  /** @throws RangeError when one of the pages is not the driver's own to write */
  constructor(dma: DmaReader, guard: BurstGuard, settings: QueueSettings) {
    this.dma = dma;
    this.guard = guard;
    this.settings = settings;
    this.header = this.find(settings.headerDpn);
    this.avail = this.find(settings.availDpn);
    this.comp = this.find(settings.compDpn);
    if (this.header < 0 || this.avail < 0 || this.comp < 0)
      throw new RangeError('a queue page is not in the DMA table');
  }

  /** Inside a burst only; looks once in each. @returns true while the pages are where they were */
  stand(): boolean {
    if (this.checkedIn === this.guard.id) return true;
    const { headerDpn, availDpn, compDpn } = this.settings;
    if (this.find(headerDpn) !== this.header || this.find(availDpn) !== this.avail || this.find(compDpn) !== this.comp)
      return false;
    this.checkedIn = this.guard.id;
    return true;
  }

  private find(dpn: number): number {
    const { context } = this.settings;
    return this.dma.lookup(dpn, context, context);
  }
}
