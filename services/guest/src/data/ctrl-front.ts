/** Netfront's end of a vif's control ring: puts requests, matches responses by their ids. docs/wire/grant-pool.md.
 *  Synchronous core: the caller gets a callback, and sets its own time limit. */
import {
  CTRL_SLOT_BYTES,
  CTRL_RING_SIZE,
  FrontRing,
  ctrlHead,
  ctrlId,
  ctrlType,
  idxAdd,
  type RingIdx,
} from '@grantline/xen';
import type { Poller, Mem, Notify } from '@grantline/machine';

/** @param status CTRL_STATUS_* @param data depends on the type of the request */
export type CtrlAnswer = (status: number, data: number) => void;

export class CtrlFront implements Poller {
  scheduled = false;
  /** Responses that nobody waited for: unknown id, wrong type, or too late. */
  stray = 0;
  /** True after an impossible rsp_prod: nothing is believed any more. */
  broken = false;
  readonly ring: FrontRing;
  private readonly u32: Uint32Array;
  private readonly peer: Notify;
  private readonly waiting = new Map<number, { type: number; answer: CtrlAnswer }>();
  private nextId = 1;

  /** @param base byte offset of the zeroed ring page */
  constructor(mem: Mem, base: number, peer: Notify, start?: RingIdx) {
    this.u32 = mem.u32;
    this.peer = peer;
    this.ring = new FrontRing(mem, base, CTRL_RING_SIZE, CTRL_SLOT_BYTES, start);
  }

  /** Sends a request. @returns its id, -1 when the ring is full or broken */
  send(type: number, data0: number, data1: number, data2: number, answer: CtrlAnswer): number {
    const { ring, u32 } = this;
    if (this.broken || ring.free() === 0) return -1;
    const id = this.nextId;
    this.nextId = (id % 0xffff) + 1;
    const at = ring.slot(ring.reqProdPvt) >> 2;
    u32[at] = ctrlHead(id, type);
    u32[at + 1] = data0;
    u32[at + 2] = data1;
    u32[at + 3] = data2;
    this.waiting.set(id, { type, answer });
    ring.reqProdPvt = idxAdd(ring.reqProdPvt, 1);
    if (ring.push()) this.peer.notify();
    return id;
  }

  /** Nobody waits for that request any more; its response will be a stray. */
  forget(id: number): void {
    this.waiting.delete(id);
  }

  poll(): number {
    if (this.broken) return 0;
    const { ring, u32 } = this;
    const n = ring.unconsumed();
    if (n < 0) this.broken = true;
    for (let i = 0; i < n; i++) {
      const at = ring.slot(ring.rspCons) >> 2;
      const head = u32[at];
      const status = u32[at + 1];
      const data = u32[at + 2];
      ring.rspCons = idxAdd(ring.rspCons, 1);
      const asked = this.waiting.get(ctrlId(head));
      if (asked === undefined || asked.type !== ctrlType(head)) this.stray++;
      else {
        this.waiting.delete(ctrlId(head));
        asked.answer(status, data);
      }
    }
    return n;
  }

  arm(): boolean {
    return !this.broken && this.ring.arm();
  }

  describe(): Record<string, unknown> {
    const { broken, stray } = this;
    return { broken, stray, waiting: this.waiting.size, ring: this.ring.describe() };
  }
}
