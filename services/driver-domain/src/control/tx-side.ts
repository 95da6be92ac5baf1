/** The transmit side of a vif from the control side: what it takes at connect, and gives back in reverse. */
import type { DomId, Pfn, UndoStack } from '@grantline/base';
import type { CounterBlock, Poller } from '@grantline/machine';
import type { BackRing } from '@grantline/xen';
import { NetbackTx } from '../data/tx/netback-tx.js';
import type { GrantPool } from '../data/grants/grant-pool.js';
import type { TxWindow } from '../data/grants/packet-grants.js';
import type { TxCredit } from '../data/tx/tx-credit.js';
import { HEADER_PAGES } from '../data/tx/tx-packets.js';
import type { TxPolicy } from '../data/tx/tx-policy.js';
import { TxPort } from '../data/tx/tx-port.js';
import type { Channel, Host } from './host.js';
import { dmaMap, dmaUnmap } from './pages.js';
import { releaseTx } from './release-tx.js';
import { makeTxNicQueue } from './tx-nic-queue.js';

export interface TxSideOptions {
  guest: DomId;
  bridgePort: number;
  /** One for all queues: what a vif may send does not depend on the queue, nor on how often it connects. */
  policy: TxPolicy;
  /** True: the NIC has a transmit queue for the guest. */
  ownQueue: boolean;
  pool: GrantPool;
  credit: TxCredit;
  counters: CounterBlock;
  onFault: (reason: string) => void;
  onError: (err: unknown) => void;
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
  const port = new TxPort(q.queue, q.nic, host.loop, host.meter, host.driver);
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
  const { client, pages, mem, loop, meter } = host;
  const first = pages.alloc(HEADER_PAGES);
  const headerDpns = await dmaMap(client, first, HEADER_PAGES, 0);
  undo.push(async () => {
    await dmaUnmap(client, headerDpns);
    pages.release(first, HEADER_PAGES);
  });
  const timers = new Set<NodeJS.Timeout>();
  const tx = new NetbackTx({
    mem,
    ingress: o.bridgePort,
    ring,
    headers: pages.offset(first),
    headersPfn: first,
    headerDpns,
    pool: o.pool,
    granter: { port: client, self: host.domid, domid: o.guest },
    window: txWindow(host, o.guest),
    port,
    ownPort: o.ownQueue,
    policy: o.policy,
    local: host.local,
    credit: o.credit,
    guest: guestPort,
    counters: o.counters,
    meter,
    loop,
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
    onFault: o.onFault,
    onError: o.onError,
  });
  if (host.probeOf) tx.probe = host.probeOf(o.guest);
  o.pool.addUser(tx);
  undo.push(() => releaseTx(host, tx, port, o.counters));
  undo.push(() => {
    for (const timer of timers) clearTimeout(timer);
    tx.stop();
  });
  loop.add(tx, (err) => tx.failed(err));
  undo.push(() => loop.remove(tx));
  return tx;
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
