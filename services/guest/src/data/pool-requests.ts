/** Asks netback about the grant pool: control requests, and the page that carries the lists of grefs. docs/wire/grant-pool.md. */
import { GREF_LIST_ENTRY_BYTES, grefListEntry, grefListStatus } from '@grantline/xen';
import type { Mem } from '@grantline/machine';
import type { CtrlFront } from './ctrl-front.js';
import type { RxBuffers } from './rx-buffers.js';

/** How long netback may take to answer a control request, milliseconds. */
export const ANSWER_MS = 1000;

/** Timers as an argument, so that tests need not wait. @returns a function that cancels */
export type After = (ms: number, then: () => void) => () => void;

/** Netback's answer; null when there was none in time. */
export type Reply = { status: number; data: number } | null;

export interface PoolRequestOptions {
  mem: Mem;
  ctrl: CtrlFront;
  queue: number;
  buffers: RxBuffers;
  /** Byte offset of the page that holds the lists, and its grant. */
  list: number;
  listGref: number;
  after: After;
}

export class PoolRequests {
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
