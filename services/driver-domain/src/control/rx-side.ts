/** The receive queues of a vif from the control side: what they take at connect, and give back in reverse. */
import { PAGE_SIZE, type DomId, type Factors, type UndoStack } from '@grantline/base';
import type { CounterBlock, Poller } from '@grantline/machine';
import type { BackRing } from '@grantline/xen';
import { NetbackBridgeRx } from '../data/rx/netback-bridge-rx.js';
import { NetbackNicRx } from '../data/rx/netback-nic-rx.js';
import { GrantPool } from '../data/grants/grant-pool.js';
import type { VifPart } from '../data/ports.js';
import { RxSlots } from '../data/rx/rx-slots.js';
import { pause, type Channel, type Host } from './host.js';
import { makeNicQueue } from './nic-queue.js';
import { unpinRest } from './unpin-rest.js';
import type { FrontKeys } from './vif-keys.js';

export interface RxSideOptions {
  guest: DomId;
  factors: Factors;
  keys: FrontKeys;
  mac: string;
  counters: CounterBlock;
  onFault: (reason: string) => void;
  onError: (err: unknown) => void;
  onLost: (reason: string) => void;
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
  const { guest, factors, keys, counters, onFault, onError } = o;
  // The queue first: its undo comes last, when nothing of the guest is on it any more.
  const q = await makeNicQueue(host, undo);
  const rx = new NetbackNicRx({
    mem: host.mem,
    slots: new RxSlots(host.mem, ring, keys.usesOffset ? factors.bufferBytes : PAGE_SIZE, keys.usesOffset),
    queue: q.queue,
    pool,
    granter: { port: host.client, self: host.domid, domid: guest },
    guest: guestPort,
    nic: q.nic,
    counters,
    meter: host.meter,
    loop: host.loop,
    onFault,
    onError,
  });
  if (host.probeOf) rx.probe = host.probeOf(guest);
  pool.addUser(rx);
  undo.push(() => unpinRest(host, rx, counters));
  await q.attach(guest, o.mac);
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
  const { guest, factors, keys, counters, onFault, onError } = o;
  const small = pool !== null && factors.path === 'split' && keys.usesOffset;
  const rx = new NetbackBridgeRx({
    mem: host.mem,
    slots: new RxSlots(host.mem, ring, small ? factors.bufferBytes : PAGE_SIZE, small),
    buffers: host.buffers,
    pool: pool ?? new GrantPool(),
    granter: { port: host.client, self: host.domid, domid: guest },
    guest: guestPort,
    counters,
    meter: host.meter,
    loop: host.loop,
    refill: host.refill,
    gso: keys.takesGso,
    onFault,
    onError,
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

/** From now on the poller runs, and does so whenever one of the channels says so. What it throws ends its vif alone.
 *  @param published how far the guest has published: one that rings without doing so is damped */
export function runPoller(
  host: Pick<Host, 'loop'>,
  undo: UndoStack,
  poller: Poller & VifPart,
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
