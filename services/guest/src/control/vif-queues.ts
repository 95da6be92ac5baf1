/** The queues of a vif from the control side: ring pages, grants, buffers, event channel; transmit buffers, whose grants may be
 *  registered as standing ones. docs/wire/netif.md, docs/wire/transmit.md. */
import {
  CTRL_STATUS_SUCCESS,
  CTRL_TYPE_ADD_GREF_MAPPING,
  GREF_LIST_ENTRY_BYTES,
  GREF_LIST_READONLY,
  RX_SLOT_BYTES,
  TX_SLOT_BYTES,
  RX_RING_SIZE,
  TX_RING_SIZE,
  FrontRing,
} from '@grantline/xen';
import type { DomId, Pfn, UndoStack, Gref } from '@grantline/base';
import { slots, GUEST_CPU } from '@grantline/machine';
import { NETFRONT_TX_COUNTERS, NETFRONT_COUNTERS } from '@grantline/observe';
import { SEND_PAGES, SendBuffers, type RxSink } from '@grantline/measure';
import type { CtrlFront } from '../data/ctrl-front.js';
import { NetfrontTx, TxGrants } from '../data/netfront-tx.js';
import { ANSWER_MS } from '../data/pool-client.js';
import type { VifHost, Channel } from './vif-host.js';
import { NetfrontRx } from '../data/netfront-rx.js';
import { RxBuffers } from '../data/rx-buffers.js';

const RX = slots(NETFRONT_COUNTERS);
const TX = slots(NETFRONT_TX_COUNTERS);
const CPU = slots(GUEST_CPU);

interface RxQueueSettings {
  backend: DomId;
  buffers: number;
  bufferBytes: number;
  reuseGrants: boolean;
  batching: boolean;
  gso: boolean;
  sink: RxSink;
  onFault: (reason: string) => void;
}

interface SharedPage {
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

interface TxQueueSettings {
  backend: DomId;
  queue: RxQueue;
  /** Small frames go into half pages. */
  halves: boolean;
  reuseGrants: boolean;
  onFault: (reason: string) => void;
}

export interface TxQueue {
  readonly tx: NetfrontTx;
  readonly buffers: SendBuffers;
  readonly grants: TxGrants;
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
    netfront.v[RX.quarantined]++;
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
    host.netfront.v[RX.quarantined] += kept;
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

/** Pages for transmit buffers, until undone. @throws Error when not so many are free */
export function takeSendPages(host: VifHost, undo: UndoStack, count = SEND_PAGES): Pfn[] {
  const pfns: Pfn[] = [];
  undo.push(() => {
    for (const pfn of pfns) host.pages.release(pfn);
  });
  for (let i = 0; i < count; i++) {
    const pfn = host.pages.alloc();
    if (pfn === -1) throw new Error(`no page is free for transmit buffer ${i} of ${count}`);
    pfns.push(pfn);
  }
  return pfns;
}

/** Sets the transmit side of a queue up. Nothing is sent before somebody stages packets. */
export function makeTxQueue(host: VifHost, undo: UndoStack, s: TxQueueSettings): TxQueue {
  const pfns = takeSendPages(host, undo);
  const buffers = new SendBuffers(
    Int32Array.from(pfns, (pfn) => host.pages.offset(pfn)),
    s.halves,
  );
  const grants = new TxGrants(host.grants, s.backend, buffers, pfns);
  undo.push(() => {
    const kept = grants.endAll();
    // A quarantined page is not given back by the release that follows.
    for (const pfn of kept) host.pages.quarantine(pfn);
    host.netfrontTx.v[TX.quarantined] += kept.size;
    host.netfrontTx.v[TX.poolGrants] = 0;
    host.netfrontTx.commit();
    if (kept.size > 0) host.log.warn({ kept: kept.size }, 'transmit buffers are still in use: quarantined');
  });
  if (s.reuseGrants) {
    for (let id = 0; id < buffers.count; id++) grants.issue(id);
    host.netfrontTx.v[TX.grantsIssued] += buffers.count;
  }
  const tx = new NetfrontTx({
    mem: host.mem,
    ring: s.queue.txRing,
    buffers,
    grants,
    perFrameGrants: !s.reuseGrants,
    counters: host.netfrontTx,
    peer: s.queue.channel,
    onFault: s.onFault,
  });
  if (host.probes) tx.probe = host.probes.tx;
  return { tx, buffers, grants };
}

/** Asks netback to keep the transmit buffers' grants mapped. Refused or not answered, it maps for each packet.
 *  @returns what was wrong; null when all stand */
export async function registerTxGrants(
  host: VifHost,
  undo: UndoStack,
  ctrl: CtrlFront,
  backend: DomId,
  { grants, buffers }: TxQueue,
): Promise<string | null> {
  const list = sharePage(host, undo, backend);
  for (let id = 0; id < buffers.count; id++) {
    const at = (list.offset + id * GREF_LIST_ENTRY_BYTES) >> 2;
    host.mem.u32[at] = grants.gref[id];
    host.mem.u32[at + 1] = GREF_LIST_READONLY | 0xffff0000;
  }
  const status = await new Promise<number | null>((resolve) => {
    const id = ctrl.send(CTRL_TYPE_ADD_GREF_MAPPING, 0, list.gref, buffers.count, (answer) => {
      cancel();
      resolve(answer);
    });
    const cancel = host.after(id < 0 ? 0 : ANSWER_MS, () => {
      ctrl.forget(id);
      resolve(null);
    });
  });
  if (status !== CTRL_STATUS_SUCCESS) return status === null ? 'netback did not answer' : `netback answered ${status}`;
  host.netfrontTx.v[TX.poolGrants] = buffers.count;
  host.netfrontTx.commit();
  return null;
}
