/** A NIC queue of either direction from the control side: its three pages, its place in the DMA table, its event channel, attach and
 *  detach. docs/wire/nic-queue.md. */
import {
  NICQ_PAGES,
  MODERATION,
  allocNicChannel,
  attachQueue,
  detachQueue,
  DriverQueue,
  TxDriverQueue,
} from '@grantline/xen';
import { type DomId, UndoStack } from '@grantline/base';
import type { Mem } from '@grantline/machine';
import { dmaMap, dmaUnmap } from './pages.js';
import { pause, type Channel, type QueueHost } from './host.js';

type Host = Pick<QueueHost, 'client' | 'pages' | 'channels' | 'mem' | 'log'>;

export interface NicQueue<Q = DriverQueue> {
  queue: Q;
  nic: Channel;
  /** Lets frames come, or go. @param target domain whose pages are posted
   *  @param mac frames for this address; null: those that no other queue takes
   *  @param packetBytes longest TCP packet that is taken uncut, 0: frames only */
  attach(target: DomId, mac: string | null, packetBytes?: number): Promise<void>;
}

/** Makes a receive queue; frames come from its attach on.
 *  @throws NotNow when there is no NIC; Error. Then nothing was taken: it may be tried again */
export function makeNicQueue(host: Host, undo: UndoStack): Promise<NicQueue> {
  const make = (mem: Mem, pages: number): DriverQueue => new DriverQueue(mem, pages);
  return allOrNothing(undo, 'a NIC queue', (own) => makeQueue(host, own, undo, make, {}));
}

/** Makes and attaches a transmit queue; undone it is detached first, so nothing reads what was posted.
 *  @param target domain whose pages may be posted, besides our own; ourselves: those of all
 *  @param retry a NIC that is not there is waited for, until this says true; not given: it is an error */
export function makeTxNicQueue(
  host: Host,
  undo: UndoStack,
  target: DomId,
  retry?: () => boolean,
): Promise<NicQueue<TxDriverQueue>> {
  if (retry !== undefined) return untilNic(host, retry, () => makeTxNicQueue(host, undo, target));
  const make = (mem: Mem, pages: number): TxDriverQueue => new TxDriverQueue(mem, pages);
  return allOrNothing(undo, 'a NIC transmit queue', async (own) => {
    const q = await makeQueue(host, own, own, make, { direction: 'tx' });
    await q.attach(target, null);
    return q;
  });
}

/** @param undo of the queue itself @param attached of its attach, which is undone first */
async function makeQueue<Q>(
  { client, pages, mem, channels }: Host,
  undo: UndoStack,
  attached: UndoStack,
  make: (mem: Mem, pages: number) => Q,
  direction: { direction?: 'tx' },
): Promise<NicQueue<Q>> {
  // First: without a NIC nothing else is taken.
  const nic = await allocNicChannel(channels);
  undo.push(() => nic.close());
  const first = pages.alloc(NICQ_PAGES);
  const dpn = await dmaMap(client, first, NICQ_PAGES);
  undo.push(async () => {
    await dmaUnmap(client, dpn);
    pages.release(first, NICQ_PAGES);
  });
  return {
    queue: make(mem, pages.offset(first)),
    nic,
    async attach(target, mac, packetBytes = 0) {
      const [header, avail, comp] = dpn;
      const where = { target, header, avail, comp, port: nic.port, mac, vlan: null };
      const args = { ...where, ...direction, ...MODERATION, ...(packetBytes > 0 ? { packetBytes } : {}) };
      const queue = await attachQueue(client, args);
      // Until it is detached transfers are under way: only then may pins and pages go.
      attached.push(() => detachQueue(client, queue));
    },
  };
}

/** Takes what `step` takes, to be undone as one; of a try that failed half-way nothing is left. */
async function allOrNothing<T>(undo: UndoStack, what: string, step: (own: UndoStack) => Promise<T>): Promise<T> {
  const own = new UndoStack();
  try {
    const made = await step(own);
    undo.push(async () => {
      const [err] = await own.run();
      if (err !== undefined) throw new Error(`${what} could not be given back`, { cause: err });
    });
    return made;
  } catch (err) {
    await own.run();
    throw err;
  }
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
