/** The guest's own NIC queues (`direct`) from the control side: pages into the DMA table, attach, detach. */
import {
  NICQ_PAGES,
  MODERATION,
  allocNicChannel,
  attachQueue,
  detachQueue,
  longestPacket,
  TxDriverQueue,
  DMA_WRITE,
  HYPERCALL_MAX_COUNT,
  DmaMapBatch,
  DmaUnmapBatch,
  DriverQueue,
} from '@grantline/xen';
import type { Dpn, Pfn, UndoStack } from '@grantline/base';
import { NicSender, SendBuffers, type RxSink } from '@grantline/measure';
import { slots, GUEST_CPU } from '@grantline/machine';
import { takeSendPages, makeBuffers } from './vif-queues.js';
import type { VifHost } from './vif-host.js';
import { DirectRx } from '../data/direct-rx.js';

const CPU = slots(GUEST_CPU);

interface DirectSettings {
  mac: string;
  buffers: number;
  bufferBytes: number;
  batching: boolean;
  /** Take TCP packets uncut. */
  lro: boolean;
  sink: RxSink;
  onFault: (reason: string) => void;
}

/** Sets the receive queue up, with all buffers posted; frames come from the attach on. */
export async function makeDirectQueue(host: VifHost, undo: UndoStack, s: DirectSettings): Promise<DirectRx> {
  const { pages, mem, loop } = host;
  const queuePages = takeQueuePages(host, undo, 'queue');
  const buffers = makeBuffers(host, undo, null, s.buffers, s.bufferBytes);
  const dpns = new Map<number, Dpn>();
  undo.push(() => unmapSelf(host, dpns));
  await mapSelf(host, [...new Set([...queuePages, ...buffers.pfn])] as Pfn[], dpns);

  const channel = await allocNicChannel(host.channels);
  undo.push(() => channel.close());
  const rx = new DirectRx({
    mem,
    queue: new DriverQueue(mem, pages.offset(queuePages[0])),
    buffers,
    dpn: Int32Array.from(buffers.pfn, (pfn) => dpns.get(pfn) ?? 0),
    sink: s.sink,
    laps: host.laps,
    components: { queue: CPU.driver, stack: CPU.stack, application: CPU.application },
    counters: host.driver,
    netfront: host.netfront,
    nic: channel,
    batching: s.batching,
    onFault: s.onFault,
  });
  if (host.probes) rx.probe = host.probes.rx;
  rx.refill();
  const packetBytes = s.lro ? longestPacket(s.bufferBytes) : 0;
  await attach(host, undo, queuePages, dpns, { port: channel.port, mac: s.mac, packetBytes });
  channel.onEvent(() => loop.schedule(rx));
  loop.add(rx);
  undo.push(() => loop.remove(rx));
  return rx;
}

interface DirectSenderSettings {
  halves: boolean;
  onFault: (reason: string) => void;
}

/** Sets the transmit queue up. Its buffers may be read by the NIC, and not written. */
export async function makeDirectSender(host: VifHost, undo: UndoStack, s: DirectSenderSettings): Promise<NicSender> {
  const { pages, mem, loop } = host;
  const queuePages = takeQueuePages(host, undo, 'transmit queue');
  const pfns = takeSendPages(host, undo);
  const dpns = new Map<number, Dpn>();
  undo.push(() => unmapSelf(host, dpns));
  await mapSelf(host, queuePages, dpns);
  await mapSelf(host, pfns, dpns, 0);

  const channel = await allocNicChannel(host.channels);
  undo.push(() => channel.close());
  const sender = new NicSender({
    mem,
    queue: new TxDriverQueue(mem, pages.offset(queuePages[0])),
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
  await attach(host, undo, queuePages, dpns, { port: channel.port, mac: null, direction: 'tx' });
  channel.onEvent(() => loop.schedule(host.sender));
  return sender;
}

/** Pages of a queue, side by side, until undone. @throws Error when not so many are free */
function takeQueuePages(host: VifHost, undo: UndoStack, what: string): Pfn[] {
  const first = host.pages.alloc(NICQ_PAGES);
  if (first === -1) throw new Error(`no pages are free for the NIC ${what}`);
  const queuePages = Array.from({ length: NICQ_PAGES }, (_, i) => (first + i) as Pfn);
  undo.push(() => {
    for (const pfn of queuePages) host.pages.release(pfn);
  });
  return queuePages;
}

/** Gives the queue to the NIC, until undone. */
async function attach(
  host: VifHost,
  undo: UndoStack,
  queuePages: readonly Pfn[],
  dpns: ReadonlyMap<number, Dpn>,
  what: { port: number; mac: string | null; direction?: 'tx'; packetBytes?: number },
): Promise<void> {
  const [header, avail, comp] = queuePages.map((pfn) => dpns.get(pfn)!);
  const queue = await attachQueue(host.client, {
    ...{ target: host.domid, header, avail, comp, vlan: null },
    ...what,
    ...MODERATION,
  });
  // Until it is detached transfers are under way: only then may pages leave the DMA table.
  undo.push(() => detachQueue(host.client, queue));
}

/** Puts own pages into the DMA table. @param flags DMA_WRITE, or 0: the NIC only reads them
 *  @throws Error when the hypervisor refuses one */
async function mapSelf(host: VifHost, pfns: readonly Pfn[], dpns: Map<number, Dpn>, flags = DMA_WRITE): Promise<void> {
  const batch = new DmaMapBatch(host.client, Math.min(pfns.length, HYPERCALL_MAX_COUNT));
  for (let at = 0; at < pfns.length; at += batch.capacity) {
    const part = pfns.slice(at, at + batch.capacity);
    batch.reset();
    for (const pfn of part) batch.put(pfn, flags);
    await batch.sendAsync();
    let bad = 0;
    part.forEach((pfn, i) => {
      if (batch.status(i) === 0) dpns.set(pfn, batch.dpn(i));
      else bad = batch.status(i);
    });
    if (bad !== 0) throw new Error(`the hypervisor refused a page for the NIC: status ${bad}`);
  }
}

/** Takes all pages out of the DMA table again; one that stays in it is quarantined. */
async function unmapSelf(host: VifHost, dpns: ReadonlyMap<number, Dpn>): Promise<void> {
  const entries = [...dpns];
  if (entries.length === 0) return;
  const batch = new DmaUnmapBatch(host.client, Math.min(entries.length, HYPERCALL_MAX_COUNT));
  for (let at = 0; at < entries.length; at += batch.capacity) {
    const part = entries.slice(at, at + batch.capacity);
    batch.reset();
    for (const [, dpn] of part) batch.put(dpn);
    await batch.sendAsync();
    const failed = part.filter((_, i) => batch.status(i) !== 0);
    for (const [pfn] of failed) host.pages.quarantine(pfn as Pfn);
    if (failed.length > 0) host.log.warn({ pages: failed.length }, 'pages stay in the DMA table: quarantined');
  }
}
