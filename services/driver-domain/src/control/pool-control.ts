/** Grant reuse, netback's side: adds and removes standing grants at the guest's request. docs/wire/grant-pool.md.
 *
 *  The list page is the guest's and it is read once (PoolList). Before a grant is acknowledged as
 *  removed, nothing here and nothing in the NIC can reach its page any more. */
import {
  GREF_LIST_ENTRY_BYTES,
  GREF_LIST_READONLY,
  GREF_LIST_STATUS,
  GNTMAP_DEVICE_MAP,
  GNTMAP_HOST_MAP,
  GNTMAP_READONLY,
  CTRL_STATUS_BUFFER_OVERFLOW,
  CTRL_STATUS_INVALID_PARAMETER,
  CTRL_STATUS_NOT_SUPPORTED,
  CTRL_STATUS_SUCCESS,
  CTRL_TYPE_ADD_GREF_MAPPING,
  CTRL_TYPE_DEL_GREF_MAPPING,
  CTRL_TYPE_GET_GREF_MAPPING_SIZE,
  GREF_LIST_MAX,
  MapBatch,
  UnmapBatch,
} from '@grantline/xen';
import { slots, type Mem, type CounterBlock } from '@grantline/machine';
import type { DomId, Dpn, GrantHandle, Gref, Pfn } from '@grantline/base';
import { NETBACK_COUNTERS } from '@grantline/observe';
import type { MappedGrant } from './window.js';
import type { CtrlRequest } from '../data/ctrl-back.js';
import { GrantPool, POOL_CAP } from '../data/grants/grant-pool.js';
import type { Host } from './host.js';

const C = slots(NETBACK_COUNTERS);
const WORDS = GREF_LIST_ENTRY_BYTES >> 2;
const NO_HANDLE = -1;

/** The page with the list of grants that a control request is about. It is the guest's, who may write it at any time: it is read
 *  once, and only statuses are written. docs/wire/grant-pool.md. */
export class PoolList {
  /** Copies of the entries. */
  readonly grefs: readonly number[];
  /** All are read-only: for sending; none is: for receiving. null: some are. */
  readonly readonly: boolean | null;
  private readonly u16: Uint16Array;
  private readonly at: number;

  /** @param at byte offset of the mapped page @param count entries, at least 1 */
  constructor(mem: Mem, at: number, count: number) {
    this.u16 = mem.u16;
    this.at = at;
    const words = mem.u32.slice(at >> 2, (at >> 2) + count * WORDS);
    this.grefs = Array.from({ length: count }, (_, i) => words[i * WORDS]);
    const flags = this.grefs.map((_, i) => (words[i * WORDS + 1] & GREF_LIST_READONLY) !== 0);
    this.readonly = flags.every((f) => f === flags[0]) ? flags[0] : null;
  }

  /** @param status CTRL_STATUS_* */
  answer(i: number, status: number): void {
    this.u16[(this.at + i * GREF_LIST_ENTRY_BYTES + GREF_LIST_STATUS) >> 1] = status;
  }
}

/** What a standing grant is for: the NIC writes the page, or netback itself does; or both only read it, to send. */
export type PoolUse = 'nic' | 'copy' | 'send';

const MAP_FLAGS = {
  nic: GNTMAP_DEVICE_MAP,
  copy: GNTMAP_HOST_MAP,
  send: GNTMAP_DEVICE_MAP | GNTMAP_HOST_MAP | GNTMAP_READONLY,
} as const;

/** The grants of one direction: read-only entries of a list are for sending. */
interface Part {
  pool: GrantPool;
  use: PoolUse;
}

export interface PoolAnswer {
  status: number;
  data: number;
}

export class PoolControl {
  private readonly host: Pick<Host, 'client' | 'window' | 'mem' | 'log'>;
  private readonly guest: DomId;
  private readonly receive: Part;
  private readonly send: Part;
  private readonly counters: CounterBlock;
  /** What the hypervisor did not let go of: asked again at the end, and never used again. */
  private readonly owed: { handle: GrantHandle; dpn: Dpn; at: number }[] = [];
  private busy: Promise<unknown> = Promise.resolve();
  private closed = false;

  /** @param pool of receive buffers @param sendPool of transmit buffers */
  constructor(
    host: PoolControl['host'],
    guest: DomId,
    pool: GrantPool,
    use: 'nic' | 'copy',
    counters: CounterBlock,
    sendPool = new GrantPool(),
  ) {
    this.host = host;
    this.guest = guest;
    this.receive = { pool, use };
    this.send = { pool: sendPool, use: 'send' };
    this.counters = counters;
  }

  /** Does what a request asks for. One at a time; never rejects. */
  handle(request: CtrlRequest): Promise<PoolAnswer> {
    const work = this.busy.then(() => this.answer(request));
    this.busy = work;
    return work;
  }

  /** The vif disconnects: what is under way ends, then every grant is let go of. */
  async close(): Promise<void> {
    this.closed = true;
    await this.busy;
    await this.drop(this.receive, this.receive.pool.grefs());
    await this.drop(this.send, this.send.pool.grefs());
    await this.askAgain();
  }

  /** Unmaps that were refused may have been so for a while only. What is refused again stays counted. */
  private async askAgain(): Promise<void> {
    for (const part of chunks(this.owed.splice(0))) {
      const batch = new UnmapBatch(this.host.client, part.length);
      for (const { handle, dpn, at } of part) batch.put(handle, dpn, at);
      await batch.sendAsync();
      this.count(C.unmapOps, part.length);
      const still = part.filter((_, i) => batch.status(i) !== 0);
      this.count(C.keptGrants, still.length - part.length, false);
      if (still.length === 0) continue;
      this.owed.push(...still);
      this.host.log.warn({ guest: this.guest, grants: still.length }, 'the hypervisor does not let go of grants');
    }
  }

  private async answer({ type, queue, gref, count }: CtrlRequest): Promise<PoolAnswer> {
    const refuse = (status: number): PoolAnswer => ({ status, data: 0 });
    if (this.closed) return refuse(CTRL_STATUS_INVALID_PARAMETER);
    if (
      type !== CTRL_TYPE_GET_GREF_MAPPING_SIZE &&
      type !== CTRL_TYPE_ADD_GREF_MAPPING &&
      type !== CTRL_TYPE_DEL_GREF_MAPPING
    )
      return refuse(CTRL_STATUS_NOT_SUPPORTED);
    if (queue !== 0) return refuse(CTRL_STATUS_INVALID_PARAMETER);
    if (type === CTRL_TYPE_GET_GREF_MAPPING_SIZE) return { status: CTRL_STATUS_SUCCESS, data: POOL_CAP };
    if (count < 1 || count > GREF_LIST_MAX) return refuse(CTRL_STATUS_INVALID_PARAMETER);
    if (!GrantPool.isGref(gref)) return refuse(CTRL_STATUS_INVALID_PARAMETER);
    let page: MappedGrant | null = null;
    try {
      page = await this.host.window.mapGrant(this.host.client, this.guest, gref as Gref);
      this.count(C.mapOps, 1);
      const list = new PoolList(this.host.mem, page.offset, count);
      if (list.readonly === null) return refuse(CTRL_STATUS_INVALID_PARAMETER);
      const part = list.readonly ? this.send : this.receive;
      return type === CTRL_TYPE_ADD_GREF_MAPPING ? await this.add(part, list) : await this.remove(part, list);
    } catch (err) {
      this.host.log.warn({ err, guest: this.guest }, 'a request about standing grants failed');
      return refuse(CTRL_STATUS_INVALID_PARAMETER);
    } finally {
      if (page !== null) {
        this.count(C.unmapOps, 1);
        await this.host.window
          .unmapGrant(this.host.client, page)
          .catch((err: unknown) => this.host.log.warn({ err }, 'a list page stays mapped'));
      }
    }
  }

  /** All or none. */
  private async add({ pool, use }: Part, list: PoolList): Promise<PoolAnswer> {
    const { grefs } = list;
    const count = grefs.length;
    const other = use === 'send' ? this.receive.pool : this.send.pool;
    const seen = new Set<number>();
    let fine = true;
    grefs.forEach((gref, i) => {
      const ok = GrantPool.isGref(gref) && !seen.has(gref) && !pool.has(gref) && !other.has(gref);
      seen.add(gref);
      fine &&= ok;
      list.answer(i, ok ? CTRL_STATUS_SUCCESS : CTRL_STATUS_INVALID_PARAMETER);
    });
    if (!fine) return { status: CTRL_STATUS_INVALID_PARAMETER, data: 0 };
    if (count > pool.room) return { status: CTRL_STATUS_BUFFER_OVERFLOW, data: 0 };

    const at = grefs.map(() => (use === 'nic' ? -1 : this.host.window.take()));
    const batch = new MapBatch(this.host.client, this.guest, MAP_FLAGS[use], count);
    grefs.forEach((gref, i) => batch.put(gref, Math.max(0, at[i])));
    await batch.sendAsync();
    this.count(use === 'nic' ? C.pinOps : C.mapOps, count);

    let refused = 0;
    grefs.forEach((gref, i) => {
      const status = batch.status(i);
      if (status !== 0) {
        refused++;
        list.answer(i, CTRL_STATUS_INVALID_PARAMETER);
        if (at[i] >= 0) this.host.window.unmap(at[i]);
        return;
      }
      pool.add(gref, batch.handle(i), use === 'copy' ? 0 : batch.dpn(i), at[i]);
      if (use === 'nic' || this.mapped(at[i], batch.pfn(i), use === 'copy')) return;
      // The hypervisor allowed it and the system does not: it is in the pool until it is let go of below.
      refused++;
      list.answer(i, CTRL_STATUS_INVALID_PARAMETER);
    });
    if (refused === 0) {
      this.count(C.poolGrants, count, false);
      return { status: CTRL_STATUS_SUCCESS, data: count };
    }
    const added = grefs.filter((_, i) => batch.status(i) === 0);
    this.counters.v[C.poolGrants] += added.length;
    await this.drop({ pool, use }, added);
    return { status: CTRL_STATUS_INVALID_PARAMETER, data: 0 };
  }

  /** Entry by entry: one that was never added or is in use stays, and its status says so. */
  private async remove(part: Part, list: PoolList): Promise<PoolAnswer> {
    const { grefs } = list;
    const { pool } = part;
    const inUse = pool.inUse();
    const wanted = new Set<number>();
    const may = grefs.map((gref) => {
      const ok = pool.has(gref) && inUse[gref] === 0 && !wanted.has(gref);
      if (ok) wanted.add(gref);
      return ok;
    });
    const kept = await this.drop(part, [...wanted]);
    let removed = 0;
    grefs.forEach((gref, i) => {
      const gone = may[i] && !kept.has(gref);
      if (gone) removed++;
      list.answer(i, gone ? CTRL_STATUS_SUCCESS : CTRL_STATUS_INVALID_PARAMETER);
    });
    return { status: CTRL_STATUS_SUCCESS, data: removed };
  }

  /** Takes grants out of the data path's sight at once, then lets go of them. @returns those that the hypervisor kept */
  private async drop({ pool, use }: Part, grefs: readonly number[]): Promise<Set<number>> {
    const kept = new Set<number>();
    for (const part of chunks(grefs)) {
      const asked: { gref: number; handle: GrantHandle; dpn: Dpn; at: number }[] = [];
      for (const gref of part) {
        const dpn = pool.dpn[gref] as Dpn;
        const at = pool.at[gref];
        const handle = pool.remove(gref) as GrantHandle;
        if (handle === NO_HANDLE) continue;
        if (at >= 0) this.host.window.unmap(at);
        asked.push({ gref, handle, dpn, at: Math.max(0, at) });
      }
      if (asked.length === 0) continue;
      const batch = new UnmapBatch(this.host.client, asked.length);
      for (const { handle, dpn, at } of asked) batch.put(handle, dpn, at);
      await batch.sendAsync();
      this.count(use === 'nic' ? C.unpinOps : C.unmapOps, asked.length);
      this.count(C.poolGrants, -asked.length, false);
      const refused = asked.filter((_, i) => batch.status(i) !== 0);
      for (const { gref } of refused) kept.add(gref);
      this.owed.push(...refused);
      if (refused.length > 0) this.count(C.keptGrants, refused.length, false);
    }
    return kept;
  }

  /** @returns false when the system did not let us have the page: its domain may be gone */
  private mapped(at: number, pfn: Pfn, writable: boolean): boolean {
    try {
      this.host.window.mapAt(at, this.guest, pfn, writable);
      return true;
    } catch (err) {
      this.host.log.warn({ err, guest: this.guest }, 'a page cannot be mapped');
      return false;
    }
  }

  private count(slot: number, n: number, isCall = true): void {
    this.counters.v[slot] += n;
    if (isCall) this.counters.v[C.hypercalls]++;
    this.counters.commit();
  }
}

/** As many at a time as a list has. */
function* chunks<T>(all: readonly T[]): Generator<readonly T[]> {
  for (let from = 0; from < all.length; from += GREF_LIST_MAX) yield all.slice(from, from + GREF_LIST_MAX);
}
