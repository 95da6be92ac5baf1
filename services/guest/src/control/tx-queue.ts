/** The transmit side of a queue from the control side: buffers, grants, and their registration as standing ones.
 *  docs/wire/transmit.md. */
import {
  CTRL_STATUS_SUCCESS,
  CTRL_TYPE_ADD_GREF_MAPPING,
  GREF_LIST_ENTRY_BYTES,
  GREF_LIST_READONLY,
} from '@grantline/xen';
import type { DomId, Pfn, UndoStack } from '@grantline/base';
import { slots } from '@grantline/machine';
import { NETFRONT_TX_COUNTERS } from '@grantline/observe';
import { SEND_PAGES, SendBuffers } from '@grantline/measure';
import type { CtrlFront } from '../data/ctrl-front.js';
import { NetfrontTx } from '../data/netfront-tx.js';
import { ANSWER_MS } from '../data/pool-requests.js';
import { TxGrants } from '../data/tx-grants.js';
import { sharePage, type RxQueue } from './rx-queue.js';
import type { VifHost } from './vif-host.js';

const C = slots(NETFRONT_TX_COUNTERS);

export interface TxQueueSettings {
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
    host.netfrontTx.v[C.quarantined] += kept.size;
    host.netfrontTx.v[C.poolGrants] = 0;
    host.netfrontTx.commit();
    if (kept.size > 0) host.log.warn({ kept: kept.size }, 'transmit buffers are still in use: quarantined');
  });
  if (s.reuseGrants) {
    for (let id = 0; id < buffers.count; id++) grants.issue(id);
    host.netfrontTx.v[C.grantsIssued] += buffers.count;
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
  host.netfrontTx.v[C.poolGrants] = buffers.count;
  host.netfrontTx.commit();
  return null;
}
