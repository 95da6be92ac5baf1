/** How many buffers wait in each queue, for metrics. */
import { NICQ_AVAIL_PROD, NICQ_SIZE } from '@grantline/xen';
import type { Mem } from '@grantline/machine';
import type { Reading } from '@grantline/observe';
import type { DmaReader } from '../data/dma.js';
import type { NicRxQueue } from '../data/rx-queue.js';

/** Buffers that the driver has posted and the NIC has not taken; 0 when the queue's header is not to be had. What is read
 *  is only shown: outside a burst the page may be taken away at any time, and then the number is an old one. */
export function postedIn(mem: Mem, dma: DmaReader, queue: NicRxQueue): number {
  const { headerDpn, context } = queue.settings;
  const header = dma.lookup(headerDpn, context, context);
  if (header < 0) return 0;
  const produced = Atomics.load(mem.u32, (header + NICQ_AVAIL_PROD) >> 2);
  const n = (produced - Number(queue.describe().availCons)) >>> 0;
  return n > NICQ_SIZE ? 0 : n;
}

/** One reading for each queue that there is or can be.
 *  @param names of queues that have none attached now: they have no buffers */
export function postedReadings(names: Iterable<string>, attached: ReadonlyMap<string, number>): Reading[] {
  const all = new Map([...names].map((name): [string, number] => [name, 0]));
  for (const [name, n] of attached) all.set(name, n);
  return [...all].map(([queue, value]) => ({ family: 'grantline_posted_buffers', labels: { queue }, value }));
}
