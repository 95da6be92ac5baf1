/** A NIC queue from the control side: its three pages, its place in the DMA table, its event channel, attach and detach.
 *  docs/wire/nic-queue.md. */
import { NICQ_PAGES, MODERATION, allocNicChannel, attachQueue, detachQueue, DriverQueue } from '@grantline/xen';
import { type DomId, UndoStack } from '@grantline/base';
import { dmaMap, dmaUnmap } from './pages.js';
import { pause, type Channel, type QueueHost } from './host.js';

export interface NicQueue {
  queue: DriverQueue;
  nic: Channel;
  /** Lets frames come. @param target domain whose pages are posted
   *  @param mac frames for this address; null: those that no other queue takes */
  attach(target: DomId, mac: string | null): Promise<void>;
}

/** Makes a queue; frames come from its attach on.
 *  @throws NotNow when there is no NIC; Error. Then nothing was taken: it may be tried again */
export async function makeNicQueue(host: QueueHost, undo: UndoStack): Promise<NicQueue> {
  const mine = new UndoStack();
  try {
    const q = await make(host, mine, undo);
    undo.push(async () => {
      const [err] = await mine.run();
      if (err !== undefined) throw new Error('a NIC queue could not be given back', { cause: err });
    });
    return q;
  } catch (err) {
    await mine.run();
    throw err;
  }
}

/** @param undo of the queue itself
 *  @param attached of its attach, which is undone first */
async function make(host: QueueHost, undo: UndoStack, attached: UndoStack): Promise<NicQueue> {
  const { client, pages } = host;
  const nic = await allocNicChannel(host.channels);
  undo.push(() => nic.close());
  const first = pages.alloc(NICQ_PAGES);
  const dpn = await dmaMap(client, first, NICQ_PAGES);
  undo.push(async () => {
    await dmaUnmap(client, dpn);
    pages.release(first, NICQ_PAGES);
  });
  return {
    queue: new DriverQueue(host.mem, pages.offset(first)),
    nic,
    async attach(target, mac) {
      const [header, avail, comp] = dpn;
      const args = { target, header, avail, comp, port: nic.port, mac, vlan: null, ...MODERATION };
      const queue = await attachQueue(client, args);
      // Until it is detached transfers are under way: only then may pins and pages go.
      attached.push(() => detachQueue(client, queue));
    },
  };
}

/** Does what needs the NIC; one that is not there yet, or does not take the queue yet, is waited for.
 *  @param stopped asked after each failure @throws Error when it still fails and `stopped` became true */
export async function untilNic<T>(
  host: Pick<QueueHost, 'client' | 'log'>,
  stopped: () => boolean,
  step: () => Promise<T>,
): Promise<T> {
  for (let tries = 0; ; tries++) {
    try {
      return await step();
    } catch (err) {
      if (stopped() || host.client.closed) throw err;
      if (tries % 50 === 0) host.log.info({ reason: (err as Error).message }, 'the NIC takes no queue yet');
      await pause(100);
    }
  }
}
