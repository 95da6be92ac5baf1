/** One queue of a vif from the control side: ring pages, grants, buffers, event channel. docs/wire/netif.md. */
import { RX_SLOT_BYTES, TX_SLOT_BYTES, RX_RING_SIZE, TX_RING_SIZE, FrontRing } from '@grantline/xen';
import type { DomId, Gref, Pfn, UndoStack } from '@grantline/base';
import { slots, GUEST_CPU } from '@grantline/machine';
import { NETFRONT_COUNTERS } from '@grantline/observe';
import { NetfrontRx } from '../data/netfront-rx.js';
import { RxBuffers } from '../data/rx-buffers.js';
import type { RxSink } from '../data/rx-sink.js';
import type { Channel, VifHost } from './vif-host.js';

const C = slots(NETFRONT_COUNTERS);
const CPU = slots(GUEST_CPU);

export interface RxQueueSettings {
  backend: DomId;
  buffers: number;
  bufferBytes: number;
  reuseGrants: boolean;
  batching: boolean;
  gso: boolean;
  sink: RxSink;
  onFault: (reason: string) => void;
}

export interface SharedPage {
  pfn: Pfn;
  offset: number;
  gref: Gref;
}

export interface RxQueue {
  readonly rx: NetfrontRx;
  readonly buffers: RxBuffers;
  readonly channel: Channel;
  readonly txRing: FrontRing;
  /** How far netback has published, in both directions: for damping. */
  readonly published: () => number;
  readonly txRef: Gref;
  readonly rxRef: Gref;
}

/** A zeroed page that the peer may read and write until undone. One that the peer does not let go of is quarantined.
 *  @throws Error when no page or entry is free */
export function sharePage(host: VifHost, undo: UndoStack, peer: DomId): SharedPage {
  const { pages, grants, netfront } = host;
  const pfn = pages.alloc();
  if (pfn === -1) throw new Error('no page is free');
  const gref = grants.claim();
  if (gref === -1) {
    pages.release(pfn);
    throw new Error('no grant entry is free');
  }
  grants.grantAccess(gref, peer, pfn);
  undo.push(() => {
    if (grants.endAccess(gref)) {
      grants.release(gref);
      pages.release(pfn);
      return;
    }
    pages.quarantine(pfn);
    netfront.v[C.quarantined]++;
    host.log.warn({ gref, pfn }, 'a shared page is still in use after the disconnect: quarantined');
  });
  return { pfn, offset: pages.offset(pfn), gref };
}

/** Buffers, filled up as far as there are pages. @param peer whom they are granted to, or null: to nobody */
export function makeBuffers(
  host: VifHost,
  undo: UndoStack,
  peer: DomId | null,
  count: number,
  bytes: number,
): RxBuffers {
  const grants = peer === null ? null : host.grants;
  const buffers = new RxBuffers(host.pages, grants, peer ?? host.domid, count, bytes);
  undo.push(() => {
    const kept = buffers.destroyAll();
    host.netfront.v[C.quarantined] += kept;
    if (kept > 0) host.log.warn({ kept }, 'buffers are still in use after the disconnect: quarantined');
  });
  for (let i = 0; i < count; i++) {
    const id = buffers.create();
    if (id < 0) throw new Error(`no page or grant entry is free for buffer ${i} of ${count}`);
    buffers.admit(id);
  }
  return buffers;
}

/** Sets a queue up. It takes nothing and posts nothing before its first `refill`. */
export async function makeRxQueue(host: VifHost, undo: UndoStack, s: RxQueueSettings): Promise<RxQueue> {
  const { mem, loop } = host;
  const tx = sharePage(host, undo, s.backend);
  const rxPage = sharePage(host, undo, s.backend);
  const txRing = new FrontRing(mem, tx.offset, TX_RING_SIZE, TX_SLOT_BYTES);
  const ring = new FrontRing(mem, rxPage.offset, RX_RING_SIZE, RX_SLOT_BYTES);
  const buffers = makeBuffers(host, undo, s.backend, s.buffers, s.bufferBytes);
  if (s.reuseGrants) for (let id = 0; id < s.buffers; id++) buffers.grant(id);
  const channel = await host.channels.allocUnbound(s.backend);
  undo.push(() => channel.close());
  const rx = new NetfrontRx({
    mem,
    ring,
    buffers,
    sink: s.sink,
    laps: host.laps,
    components: { queue: CPU.netfront, stack: CPU.stack, application: CPU.application },
    counters: host.netfront,
    peer: channel,
    perFrameGrants: !s.reuseGrants,
    batching: s.batching,
    gso: s.gso,
    onFault: s.onFault,
  });
  if (host.probes) rx.probe = host.probes.rx;
  const published = (): number => ring.seen + txRing.seen;
  channel.onEvent(() => loop.schedule(rx), published);
  undo.push(() => channel.onEvent(() => {}));
  loop.add(rx);
  undo.push(() => loop.remove(rx));
  return { rx, buffers, channel, txRing, published, txRef: tx.gref, rxRef: rxPage.gref };
}
