/** A NIC transmit queue from the control side: three pages, their place in the DMA table, event channel, attach, detach.
 *  docs/wire/nic-queue.md section 8. */
import { NICQ_PAGES, MODERATION, allocNicChannel, attachQueue, detachQueue, TxDriverQueue } from '@grantline/xen';
import { type DomId, UndoStack } from '@grantline/base';
import type { Channel, QueueHost } from './host.js';
import { untilNic } from './nic-queue.js';
import { dmaMap, dmaUnmap } from './pages.js';

export interface TxNicQueue {
  queue: TxDriverQueue;
  nic: Channel;
}

/** Makes and attaches a queue; undone it is detached first, so nothing reads what was posted.
 *  @param target domain whose pages may be posted, besides our own; ourselves: those of all
 *  @param retry a NIC that is not there is waited for, until this says true; not given: it is an error */
export async function makeTxNicQueue(
  host: Pick<QueueHost, 'client' | 'pages' | 'channels' | 'mem' | 'log'>,
  undo: UndoStack,
  target: DomId,
  retry?: () => boolean,
): Promise<TxNicQueue> {
  if (retry !== undefined) return untilNic(host, retry, () => makeTxNicQueue(host, undo, target));
  // Its own: a try that failed half-way is undone before the next.
  const mine = new UndoStack();
  try {
    const q = await make(host, mine, target);
    undo.push(async () => {
      const [err] = await mine.run();
      if (err !== undefined) throw new Error('a NIC transmit queue could not be given back', { cause: err });
    });
    return q;
  } catch (err) {
    await mine.run();
    throw err;
  }
}

async function make(
  host: Pick<QueueHost, 'client' | 'pages' | 'channels' | 'mem'>,
  undo: UndoStack,
  target: DomId,
): Promise<TxNicQueue> {
  const { client, pages } = host;
  // First: without a NIC nothing else is taken.
  const nic = await allocNicChannel(host.channels);
  undo.push(() => nic.close());
  const first = pages.alloc(NICQ_PAGES);
  const dpn = await dmaMap(client, first, NICQ_PAGES);
  undo.push(async () => {
    await dmaUnmap(client, dpn);
    pages.release(first, NICQ_PAGES);
  });
  const queue = new TxDriverQueue(host.mem, pages.offset(first));
  const [header, avail, comp] = dpn;
  const args = {
    target,
    header,
    avail,
    comp,
    port: nic.port,
    mac: null,
    vlan: null,
    direction: 'tx' as const,
    ...MODERATION,
  };
  const id = await attachQueue(client, args);
  undo.push(() => detachQueue(client, id));
  return { queue, nic };
}
