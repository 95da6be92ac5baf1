/** The queues of a vif from the control side: what each takes at connect, and gives back in reverse. */
import { RX_RING_SIZE, UnmapBatch, longestPacket, type BackRing } from '@grantline/xen';
import { slots, type CounterBlock, type Poller } from '@grantline/machine';
import { NETBACK_COUNTERS, NETBACK_TX_COUNTERS } from '@grantline/observe';
import { PAGE_SIZE, type DomId, type Factors, type Pfn, type UndoStack } from '@grantline/base';
import { GrantPool } from '../data/grants/grant-pool.js';
import type { TxWindow } from '../data/grants/packet-grants.js';
import { NetbackBridgeRx } from '../data/rx/netback-bridge-rx.js';
import { NetbackNicRx } from '../data/rx/netback-nic-rx.js';
import { RxSlots } from '../data/rx/rx-slots.js';
import { NetbackTx } from '../data/tx/netback-tx.js';
import type { TxCredit, TxPolicy } from '../data/tx/tx-policy.js';
import { TxPort } from '../data/tx/tx-port.js';
import { HEADER_PAGES, MAX_PENDING } from '../data/tx/tx-requests.js';
import type { QueueOptions, VifPart } from '../data/vif-part.js';
import { pause, type Channel, type Host } from './host.js';
import { makeNicQueue, makeTxNicQueue } from './nic-queue.js';
import { dmaMap, dmaUnmap } from './pages.js';
import type { FrontKeys } from './vif-keys.js';

const C = slots(NETBACK_COUNTERS);
const T = slots(NETBACK_TX_COUNTERS);
/** A NIC that does not complete what was posted is not waited for longer: the DMA table keeps its pages safe. */
const QUIET_MS = 1000;

/** What all queues of a vif need. */
interface SideOptions {
  guest: DomId;
  counters: CounterBlock;
  onFault: (reason: string) => void;
  onError: (err: unknown) => void;
}

interface RxSideOptions extends SideOptions {
  factors: Factors;
  keys: FrontKeys;
  mac: string;
  onLost: (reason: string) => void;
}

interface TxSideOptions extends SideOptions {
  bridgePort: number;
  /** One for all queues: what a vif may send does not depend on the queue, nor on how often it connects. */
  policy: TxPolicy;
  /** True: the NIC has a transmit queue for the guest. */
  ownQueue: boolean;
  pool: GrantPool;
  credit: TxCredit;
}

/** A queue that the NIC feeds. Frames come from now on. */
export async function makeNicRx(
  host: Host,
  undo: UndoStack,
  ring: BackRing,
  guestPort: Channel,
  pool: GrantPool,
  o: RxSideOptions,
): Promise<NetbackNicRx> {
  const { guest, factors, keys, counters } = o;
  const bufferBytes = keys.usesOffset ? factors.bufferBytes : PAGE_SIZE;
  // The queue first: its undo comes last, when nothing of the guest is on it any more.
  const q = await makeNicQueue(host, undo);
  const rx = new NetbackNicRx({
    ...queueOptions(host, guestPort, o),
    slots: new RxSlots(host.mem, ring, bufferBytes, keys.usesOffset),
    queue: q.queue,
    pool,
    nic: q.nic,
  });
  if (host.probeOf) rx.probe = host.probeOf(guest);
  pool.addUser(rx);
  // The NIC is off the queue then: after the replies that are due, what is still pinned is unpinned.
  undo.push(async () => {
    rx.drain();
    while (rx.slowLoop.inFlight > 0 && !host.client.closed) await pause(1);
    const batch = new UnmapBatch(host.client, RX_RING_SIZE);
    rx.takePins((handle, dpn) => batch.put(handle, dpn));
    await sendRest(batch, counters, C.unpinOps, C.hypercalls);
  });
  // Pinned page by page, a packet would wait for all of its calls.
  const whole = keys.takesGso && factors.grants === 'reuse';
  await q.attach(guest, o.mac, whole ? longestPacket(bufferBytes) : 0);
  q.nic.onUnbound(() => o.onLost('the NIC closed its port'));
  undo.push(() => rx.stop());
  runPoller(host, undo, rx, () => ring.seen, guestPort, q.nic);
  return rx;
}

/** A queue that the bridge feeds.
 *  @param pool null: it is a second queue, for strays; that one, and the only one of `direct`, has full pages, copied by grant */
export function makeBridgeRx(
  host: Host,
  undo: UndoStack,
  ring: BackRing,
  guestPort: Channel,
  pool: GrantPool | null,
  o: RxSideOptions,
): NetbackBridgeRx {
  const { guest, factors, keys } = o;
  const small = pool !== null && factors.path === 'split' && keys.usesOffset;
  const rx = new NetbackBridgeRx({
    ...queueOptions(host, guestPort, o),
    slots: new RxSlots(host.mem, ring, small ? factors.bufferBytes : PAGE_SIZE, small),
    buffers: host.buffers,
    pool: pool ?? new GrantPool(),
    refill: host.refill,
    gso: keys.takesGso,
  });
  if (host.probeOf) rx.probe.probe = host.probeOf(guest);
  pool?.addUser(rx);
  undo.push(async () => {
    while (rx.copies.inFlight > 0 && !host.client.closed) await pause(1);
  });
  undo.push(() => rx.stop());
  runPoller(host, undo, rx, () => ring.seen, guestPort);
  return rx;
}

/** A transmit side for each queue: the frontend chooses by which it sends. @param receiver what shares the queue's event channel */
export async function makeTxSides(
  host: Host,
  undo: UndoStack,
  queues: { txRings: readonly BackRing[]; rxRings: readonly BackRing[]; ports: readonly Channel[] },
  receiver: (queue: number) => Poller,
  port: TxPort,
  o: TxSideOptions,
): Promise<NetbackTx[]> {
  const all: NetbackTx[] = [];
  const { txRings, rxRings, ports } = queues;
  for (const [i, ring] of txRings.entries()) {
    const tx = await makeTxSide(host, undo, ring, ports[i], port, o);
    const rx = receiver(i);
    const schedule = (): void => {
      host.loop.schedule(rx);
      host.loop.schedule(tx);
    };
    ports[i].onEvent(schedule, () => ring.seen + rxRings[i].seen);
    undo.push(() => ports[i].onEvent(() => {}));
    all.push(tx);
  }
  return all;
}

/** A NIC queue of the vif's own to send by. */
export async function makeTxPort(
  host: Host,
  undo: UndoStack,
  guest: DomId,
  onError: (err: unknown) => void,
  onLost: (reason: string) => void,
): Promise<TxPort> {
  const q = await makeTxNicQueue(host, undo, guest);
  const port = new TxPort(host.loop, host.meter, host.driver);
  port.connect(q.queue, q.nic);
  q.nic.onEvent(() => host.loop.schedule(port));
  q.nic.onUnbound(() => onLost('the NIC closed its port'));
  port.onBroken = onLost;
  host.loop.add(port, onError);
  undo.push(() => host.loop.remove(port));
  return port;
}

/** One queue's transmit side. It runs from now on. */
async function makeTxSide(
  host: Host,
  undo: UndoStack,
  ring: BackRing,
  guestPort: Channel,
  port: TxPort,
  o: TxSideOptions,
): Promise<NetbackTx> {
  const { client, pages, loop } = host;
  const { pool, policy, credit } = o;
  const first = pages.alloc(HEADER_PAGES);
  const headerDpns = await dmaMap(client, first, HEADER_PAGES, 0);
  undo.push(async () => {
    await dmaUnmap(client, headerDpns);
    pages.release(first, HEADER_PAGES);
  });
  const timers = new Set<NodeJS.Timeout>();
  const tx = new NetbackTx({
    ...queueOptions(host, guestPort, o),
    ...{ ring, port, pool, policy, credit, local: host.local, window: txWindow(host, o.guest) },
    ingress: o.bridgePort,
    headers: pages.offset(first),
    headersPfn: first,
    headerDpns,
    ownPort: o.ownQueue,
    after(ns, then) {
      const timer = setTimeout(
        () => {
          timers.delete(timer);
          then();
        },
        Math.max(1, ns / 1e6),
      );
      timers.add(timer);
    },
  });
  if (host.probeOf) tx.probe = host.probeOf(o.guest);
  pool.addUser(tx);
  undo.push(() => releaseTx(host, tx, port, o.counters));
  undo.push(() => {
    for (const timer of timers) clearTimeout(timer);
    tx.stop();
  });
  loop.add(tx, (err) => tx.failed(err));
  undo.push(() => loop.remove(tx));
  return tx;
}

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
  await sendRest(batch, counters, T.unmapOps, T.hypercalls);
}

/** Ends what a queue still has mapped at the disconnect. @param ops, calls slots of the counters */
async function sendRest(batch: UnmapBatch, counters: CounterBlock, ops: number, calls: number): Promise<void> {
  if (batch.count === 0) return;
  counters.v[ops] += batch.count;
  counters.v[calls]++;
  counters.commit();
  await batch.sendAsync();
}

function queueOptions(host: Host, guest: Channel, o: SideOptions): QueueOptions {
  const { mem, client, domid, meter, loop } = host;
  const { counters, onFault, onError } = o;
  return {
    mem,
    granter: { port: client, self: domid, domid: o.guest },
    guest,
    counters,
    meter,
    loop,
    onFault,
    onError,
  };
}

/** The window, for one guest's transmit pages: never to be written. */
function txWindow({ window, log }: Pick<Host, 'window' | 'log'>, guest: DomId): TxWindow {
  return {
    take: () => window.take(),
    unmap: (at) => window.unmap(at),
    map(at, pfn) {
      try {
        window.mapAt(at, guest, pfn as Pfn, false);
        return true;
      } catch (err) {
        log.warn({ err, guest }, 'a page cannot be mapped');
        return false;
      }
    },
  };
}

/** From now on the poller runs, and does so whenever one of the channels says so. What it throws ends its vif alone.
 *  @param published how far the guest has published: one that rings without doing so is damped */
export function runPoller(
  host: Pick<Host, 'loop'>,
  undo: UndoStack,
  poller: VifPart,
  published: () => number,
  guest: Channel,
  nic?: Channel,
): void {
  const { loop } = host;
  loop.add(poller, (err) => poller.failed(err));
  undo.push(() => loop.remove(poller));
  guest.onEvent(() => loop.schedule(poller), published);
  undo.push(() => guest.onEvent(() => {}));
  nic?.onEvent(() => loop.schedule(poller));
  undo.push(() => nic?.onEvent(() => {}));
}
