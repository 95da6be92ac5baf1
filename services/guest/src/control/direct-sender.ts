/** The guest's own NIC transmit queue (`direct`) from the control side: pages into the DMA table, attach, detach. */
import { NICQ_PAGES, MODERATION, allocNicChannel, attachQueue, detachQueue, TxDriverQueue } from '@grantline/xen';
import type { Dpn, Pfn, UndoStack } from '@grantline/base';
import { NicSender, SendBuffers } from '@grantline/measure';
import { mapSelf, unmapSelf } from './direct-queue.js';
import { takeSendPages } from './tx-queue.js';
import type { VifHost } from './vif-host.js';

export interface DirectSenderSettings {
  halves: boolean;
  onFault: (reason: string) => void;
}

/** Sets the queue up. Its buffers may be read by the NIC, and not written. */
export async function makeDirectSender(host: VifHost, undo: UndoStack, s: DirectSenderSettings): Promise<NicSender> {
  const { pages, mem, loop, client } = host;
  const first = pages.alloc(NICQ_PAGES);
  if (first === -1) throw new Error('no pages are free for the NIC transmit queue');
  const queuePages = Array.from({ length: NICQ_PAGES }, (_, i) => (first + i) as Pfn);
  undo.push(() => {
    for (const pfn of queuePages) pages.release(pfn);
  });
  const pfns = takeSendPages(host, undo);
  const dpns = new Map<number, Dpn>();
  undo.push(() => unmapSelf(host, dpns));
  await mapSelf(host, queuePages, dpns);
  await mapSelf(host, pfns, dpns, 0);

  const channel = await allocNicChannel(host.channels);
  undo.push(() => channel.close());
  const sender = new NicSender({
    mem,
    queue: new TxDriverQueue(mem, pages.offset(first)),
    buffers: new SendBuffers(
      Int32Array.from(pfns, (pfn) => pages.offset(pfn)),
      s.halves,
    ),
    dpn: Int32Array.from(pfns, (pfn) => dpns.get(pfn) ?? 0),
    nic: channel,
    counters: host.netfrontTx,
    onFault: s.onFault,
  });
  if (host.probes) sender.probe = host.probes.tx;
  const [header, avail, comp] = queuePages.map((pfn) => dpns.get(pfn));
  const queue = await attachQueue(client, {
    target: host.domid,
    header: header!,
    avail: avail!,
    comp: comp!,
    port: channel.port,
    mac: null,
    vlan: null,
    direction: 'tx',
    ...MODERATION,
  });
  // Until it is detached transfers are under way: only then may pages leave the DMA table.
  undo.push(() => detachQueue(client, queue));
  channel.onEvent(() => loop.schedule(host.sender));
  return sender;
}
