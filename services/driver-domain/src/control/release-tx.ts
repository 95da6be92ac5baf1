/** What is left of a transmit side at the disconnect: waited for, and unmapped. */
import { slots, type CounterBlock } from '@grantline/machine';
import { NETBACK_TX_COUNTERS } from '@grantline/observe';
import { UnmapBatch } from '@grantline/xen';
import type { NetbackTx } from '../data/tx/netback-tx.js';
import { MAX_PENDING } from '../data/tx/tx-packets.js';
import type { TxPort } from '../data/tx/tx-port.js';
import { pause, type Host } from './host.js';

const C = slots(NETBACK_TX_COUNTERS);
/** A NIC that does not complete what was posted is not waited for longer: the DMA table keeps its pages safe. */
const QUIET_MS = 1000;

/** After the stop: waits until neither the hypervisor nor other vifs nor the NIC have anything of the guest, then unmaps the
 *  rest. Its grants may mean other pages next time, and its headers' pages are another guest's then.
 *  @param wait a moment, milliseconds */
export async function releaseTx(
  host: Pick<Host, 'client' | 'local'>,
  tx: NetbackTx,
  port: Pick<TxPort, 'outstanding' | 'forget'>,
  counters: CounterBlock,
  wait = pause,
): Promise<void> {
  const { client } = host;
  host.local.leave(tx);
  // The hypervisor answers, late as it may be: a mapping that nobody waited for would stay.
  while ((tx.grants.inFlight > 0 || tx.packets.lent > 0) && !client.closed) await wait(1);
  for (let ms = 0; port.outstanding(tx) > 0 && ms < QUIET_MS && !client.closed; ms++) await wait(1);
  port.forget(tx);
  const batch = new UnmapBatch(client, MAX_PENDING);
  tx.takeMappings((handle, dpn, at) => batch.put(handle, dpn, at));
  if (batch.count === 0) return;
  counters.v[C.unmapOps] += batch.count;
  counters.v[C.hypercalls]++;
  counters.commit();
  await batch.sendAsync();
}
