/** What a receive queue still has pinned at the disconnect. */
import { RX_RING_SIZE, UnmapBatch } from '@grantline/xen';
import { slots, type CounterBlock } from '@grantline/machine';
import { NETBACK_COUNTERS } from '@grantline/observe';
import type { NetbackNicRx } from '../data/rx/netback-nic-rx.js';
import { pause, type Host } from './host.js';

const C = slots(NETBACK_COUNTERS);

/** The NIC is off the queue: after the replies that are due, what is still pinned is unpinned. */
export async function unpinRest(host: Pick<Host, 'client'>, rx: NetbackNicRx, counters: CounterBlock): Promise<void> {
  rx.drain();
  while (rx.pins.inFlight > 0 && !host.client.closed) await pause(1);
  const batch = new UnmapBatch(host.client, RX_RING_SIZE);
  rx.takePins((handle, dpn) => batch.put(handle, dpn));
  if (batch.count === 0) return;
  counters.v[C.unpinOps] += batch.count;
  counters.v[C.hypercalls]++;
  counters.commit();
  await batch.sendAsync();
}
