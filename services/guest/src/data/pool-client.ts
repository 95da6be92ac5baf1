/** The guest's side of grant reuse: tells netback which grants stand, and takes them back on request.
 *  docs/wire/grant-pool.md; the messages are those of Xen's staging grants (public/io/netif.h).
 *
 *  In steady state nothing happens here. A guest cannot revoke a grant that netback keeps mapped: the in-use bits are
 *  set. So it asks (DEL), waits for the acknowledgement, and only a successful compare-exchange counts. A peer that
 *  refuses, or is silent for `ANSWER_MS`, or acknowledges and still has the page, costs us that page: it is
 *  quarantined, never used again, and the vif goes on with what is left. */
import {
  GREF_LIST_ENTRY_BYTES,
  grefListEntry,
  grefListStatus,
  CTRL_STATUS_SUCCESS,
  CTRL_TYPE_ADD_GREF_MAPPING,
  CTRL_TYPE_DEL_GREF_MAPPING,
  CTRL_TYPE_GET_GREF_MAPPING_SIZE,
  GREF_LIST_MAX,
} from '@grantline/xen';
import { slots, type Mem, type CounterBlock } from '@grantline/machine';
import { NETFRONT_COUNTERS } from '@grantline/observe';
import type { CtrlFront } from './ctrl-front.js';
import type { RxBuffers } from './rx-buffers.js';

/** How long netback may take to answer a control request, milliseconds. */
export const ANSWER_MS = 1000;

/** Timers as an argument, so that tests need not wait. @returns a function that cancels */
export type After = (ms: number, then: () => void) => () => void;

/** Netback's answer; null when there was none in time. */
type Reply = { status: number; data: number } | null;

interface PoolRequestOptions {
  mem: Mem;
  ctrl: CtrlFront;
  queue: number;
  buffers: RxBuffers;
  /** Byte offset of the page that holds the lists, and its grant. */
  list: number;
  listGref: number;
  after: After;
}

const C = slots(NETFRONT_COUNTERS);

/** How long buffers are waited for that shall come back, milliseconds: without traffic posted ones never do. */
const COLLECT_MS = 1000;

interface PoolResult {
  /** Buffers asked for. */
  asked: number;
  /** Buffers that were added or given back. */
  done: number;
  /** Buffers lost to the quarantine by this request. */
  quarantined: number;
  error: string | null;
}

interface PoolOptions extends PoolRequestOptions {
  counters: CounterBlock;
  /** New buffers are there: post them. */
  onAdmitted: () => void;
}

export class PoolClient {
  /** Grants that netback keeps at most; 0 when it keeps none and maps for each frame. */
  limit = 0;
  /** Grants that netback acknowledged. */
  added = 0;
  private busy: Promise<unknown> = Promise.resolve();
  private readonly o: PoolOptions;
  private readonly requests: PoolRequests;

  constructor(options: PoolOptions) {
    this.o = options;
    this.requests = new PoolRequests(options);
  }

  /** Registers the buffers that are in circulation, none of them posted yet. Those over the limit are given back. */
  setUp(): Promise<PoolResult> {
    return this.exclusive(async () => {
      const { buffers } = this.o;
      const asked = buffers.count;
      const size = await this.requests.ask(CTRL_TYPE_GET_GREF_MAPPING_SIZE, 0, 0);
      if (this.requests.closed) return this.gone(asked);
      if (size === null || size.status !== CTRL_STATUS_SUCCESS) return this.result(asked, 0, 0, this.whyNot(size));
      this.limit = Math.min(size.data, GREF_LIST_MAX, buffers.capacity);
      if (this.limit === 0) return this.result(asked, 0, 0, 'netback keeps no grants');
      if (buffers.count > this.limit) buffers.requestWithhold(buffers.count - this.limit);
      for (const id of this.takeWithheld()) buffers.destroy(id);
      const ids = [...buffers.freeIds.subarray(0, buffers.freeCount)];
      const reply = await this.requests.askAbout(CTRL_TYPE_ADD_GREF_MAPPING, ids);
      if (this.requests.closed) return this.gone(asked);
      if (reply?.status !== CTRL_STATUS_SUCCESS) return this.result(asked, 0, 0, this.whyNot(reply));
      this.note(ids.length);
      return this.result(asked, ids.length, 0, null);
    });
  }

  /** Gives n buffers back: they leave circulation as they come back, netback is asked to let go, access is ended. */
  shrink(n: number): Promise<PoolResult> {
    return this.exclusive(async () => {
      const { buffers } = this.o;
      if (this.requests.mute) return this.result(n, 0, 0, this.whyNot(null));
      if (buffers.requestWithhold(n) > 0) await this.collected();
      if (this.requests.closed) return this.gone(n);
      const ids = this.takeWithheld();
      if (ids.length === 0) return this.result(n, 0, 0, 'no buffer came back');
      const known = this.added > 0;
      const reply = known ? await this.requests.askAbout(CTRL_TYPE_DEL_GREF_MAPPING, ids) : null;
      if (this.requests.closed) return this.gone(n);
      let done = 0;
      let refused = 0;
      // The list page is shared: each entry's verdict is read once, and nothing but the grant table is believed after.
      for (let i = 0; i < ids.length; i++) {
        const agreed = !known || (reply !== null && this.requests.verdict(i) === CTRL_STATUS_SUCCESS);
        if (known && agreed) this.note(-1);
        if (!agreed) buffers.quarantine(ids[i]);
        if (agreed && buffers.destroy(ids[i])) done++;
        else refused++;
      }
      this.countQuarantined(refused);
      return this.result(n, done, refused, refused === 0 ? null : this.whyNot(reply));
    });
  }

  /** Makes and registers n more buffers, all or none. */
  grow(n: number): Promise<PoolResult> {
    return this.exclusive(async () => {
      const { buffers } = this.o;
      if (this.requests.mute) return this.result(n, 0, 0, this.whyNot(null));
      const known = this.limit > 0;
      if (known && this.added + n > this.limit)
        return this.result(n, 0, 0, `netback keeps at most ${this.limit} grants`);
      const ids: number[] = [];
      while (ids.length < n) {
        const id = buffers.create();
        if (id < 0) break;
        buffers.grant(id);
        ids.push(id);
      }
      const short = ids.length < n;
      const reply = short || !known ? null : await this.requests.askAbout(CTRL_TYPE_ADD_GREF_MAPPING, ids);
      if (this.requests.closed) return this.gone(n);
      if (short || (known && reply?.status !== CTRL_STATUS_SUCCESS)) {
        // After a refusal netback must not have them; where it has, the compare-exchange tells.
        const kept = ids.filter((id) => !buffers.destroy(id)).length;
        this.countQuarantined(kept);
        return this.result(n, 0, kept, short ? 'no page or grant entry is free' : this.whyNot(reply));
      }
      if (known) this.note(n);
      for (const id of ids) buffers.admit(id);
      this.o.onAdmitted();
      return this.result(n, n, 0, null);
    });
  }

  /** The vif disconnects: what is under way ends at once and touches no buffer any more. */
  close(): void {
    this.requests.close();
  }

  describe(): Record<string, unknown> {
    const { limit, added } = this;
    return { limit, added, mute: this.requests.mute, ctrl: this.o.ctrl.describe() };
  }

  private gone(asked: number): PoolResult {
    return this.result(asked, 0, 0, 'the vif disconnected');
  }

  /** Requests run one after the other: there is one list page. */
  private exclusive<T>(work: () => Promise<T>): Promise<T> {
    const run = this.busy.then(work);
    this.busy = run.catch(() => undefined);
    return run;
  }

  /** Waits until the wanted buffers came back, or COLLECT_MS; what did not come stays in circulation. */
  private collected(): Promise<void> {
    const { buffers, after } = this.o;
    return new Promise((resolve) => {
      let waitedMs = 0;
      const look = (): void => {
        waitedMs += 10;
        if (buffers.withholdWanted > 0 && waitedMs < COLLECT_MS && !this.requests.closed) after(10, look);
        else {
          buffers.withholdWanted = 0;
          resolve();
        }
      };
      after(10, look);
    });
  }

  private takeWithheld(): number[] {
    const { buffers } = this.o;
    const ids = [...buffers.withheld.subarray(0, buffers.withheldCount)];
    buffers.withheldCount = 0;
    return ids;
  }

  private note(delta: number): void {
    this.added += delta;
    const { counters } = this.o;
    counters.v[C.poolGrants] += delta;
    counters.commit();
  }

  private countQuarantined(n: number): void {
    const { counters } = this.o;
    counters.v[C.quarantined] += n;
    counters.commit();
  }

  private whyNot(reply: Reply): string {
    if (reply === null) return `netback did not answer within ${ANSWER_MS} ms`;
    return reply.status === CTRL_STATUS_SUCCESS
      ? 'netback kept a grant'
      : `netback answered with status ${reply.status}`;
  }

  private result(asked: number, done: number, quarantined: number, error: string | null): PoolResult {
    return { asked, done, quarantined, error };
  }
}

/** Asks netback about the pool: control requests, and the page that carries the lists of grefs. */
class PoolRequests {
  /** Set once netback did not answer in time: it is not asked again, an answer could come at any later time. */
  mute = false;
  closed = false;
  private giveUp: (() => void) | null = null;
  private readonly o: PoolRequestOptions;

  constructor(options: PoolRequestOptions) {
    this.o = options;
  }

  /** Sends a request; one at a time. @param data what it means is the type's */
  ask(type: number, data1: number, data2: number): Promise<Reply> {
    const { ctrl, queue, after } = this.o;
    if (this.closed) return Promise.resolve(null);
    return new Promise((resolve) => {
      const id = ctrl.send(type, queue, data1, data2, (status, data) => {
        cancel();
        resolve({ status, data });
      });
      const silent = (): void => {
        ctrl.forget(id);
        this.mute = true;
        resolve(null);
      };
      const cancel = after(id < 0 ? 0 : ANSWER_MS, silent);
      this.giveUp = () => {
        cancel();
        silent();
      };
    });
  }

  /** Writes the buffers' grefs to the list page, and sends the request that is about them. */
  askAbout(type: number, ids: readonly number[]): Promise<Reply> {
    const { mem, list, buffers, listGref } = this.o;
    for (let i = 0; i < ids.length; i++) {
      const at = (list + i * GREF_LIST_ENTRY_BYTES) >> 2;
      mem.u32[at] = buffers.gref[ids[i]]!;
      // No flags; "refused" until netback writes another status.
      mem.u32[at + 1] = grefListEntry(0, 0xffff);
    }
    return this.ask(type, listGref, ids.length);
  }

  /** @returns netback's verdict on entry `i` of the list. The page is shared: to be read once */
  verdict(i: number): number {
    return grefListStatus(this.o.mem.u32[((this.o.list + i * GREF_LIST_ENTRY_BYTES) >> 2) + 1]);
  }

  /** What is under way ends at once, without an answer; nothing is asked any more. */
  close(): void {
    this.closed = true;
    this.giveUp?.();
  }
}
