/** A domain's end of its hypercall ring: docs/wire/hypercall.md section 1.1, docs/adr/0023. One more ring of Xen's ring.h, with the
 *  hypervisor as its back end; a slot takes up to 64 elements of one call. */
import { DOMID_DRIVER, type DomId } from '@grantline/base';
import type { Mem, Poller } from '@grantline/machine';
import {
  HCRING_ELEMENTS,
  HCRING_FIRST,
  HCRING_GUEST_SLOTS,
  HCRING_RESULTS,
  HCRING_SLOTS,
  HCRING_SLOT_BYTES,
  HYPERCALL_HEADER_BYTES,
  elementBytes,
  resultBytes,
} from '../abi/hypercall.js';
import { RING_HEADER_BYTES } from '../abi/ring.js';
import { copyWords } from '../grant/batches.js';
import { idxAdd, ringIdx, type RingIdx } from '../ring/indices.js';
import { FrontRing } from '../ring/shared-ring.js';
import type { Call, HypercallPort } from './hypervisor-port.js';

/** Slots of a domain's ring: the driver domain works for all guests. */
export const hypercallSlotsOf = (domid: DomId): number => (domid === DOMID_DRIVER ? HCRING_SLOTS : HCRING_GUEST_SLOTS);

/** Bytes of shared memory that a ring of so many slots takes. */
export const hypercallRingBytes = (slots: number): number => RING_HEADER_BYTES + slots * HCRING_SLOT_BYTES;

export interface RingBells {
  /** Wakes the hypervisor. */
  ring(): void;
  /** There are calls under way: poll soon. */
  kick(): void;
  /** From inside poll(): something was left to the event loop. */
  leave(): void;
}

export class HypercallRing implements HypercallPort, Poller {
  scheduled = false;
  private readonly ring: FrontRing;
  private readonly u32: Uint32Array;
  private readonly bells: RingBells;
  /** Calls without an answer, oldest first. */
  private readonly calls: Call[] = [];
  /** Calls that are in slots with all their elements, and elements of the next one that are. */
  private put = 0;
  private elementsPut = 0;
  /** Of the oldest call: elements answered, and the first rc that is not 0. */
  private elementsAnswered = 0;
  private rc = 0;

  /** @param at byte offset of the ring in mem
   *  @param start first index; 0 except in tests of the wrap */
  constructor(mem: Mem, at: number, slots: number, bells: RingBells, start: RingIdx = ringIdx(0)) {
    this.ring = new FrontRing(mem, at, slots, HCRING_SLOT_BYTES, start);
    this.u32 = mem.u32;
    this.bells = bells;
  }

  /** Calls without an answer. */
  get inFlight(): number {
    return this.calls.length;
  }

  hypercall(call: Call): void {
    this.calls.push(call);
    this.fill();
    // A round in which this poller has been passed already is not slept over: the answer's event is not armed yet.
    this.scheduled = true;
    this.bells.kick();
  }

  /** Takes answers, and puts what has waited for a slot. @returns slots answered; 0 when there was none */
  poll(): number {
    const { ring } = this;
    const answered = ring.unconsumed();
    if (answered < 0) throw new Error('the hypervisor has answered calls that nobody made');
    for (let n = answered; n > 0; n--) this.takeAnswer();
    if (answered > 0) this.fill();
    return answered;
  }

  arm(): boolean {
    return this.inFlight > 0 && this.ring.arm();
  }

  describe(): Record<string, number> {
    return { callsInFlight: this.inFlight, callsWaiting: this.inFlight - this.put, ...this.ring.describe() };
  }

  /** Puts elements into slots, in the order of the calls, while there are slots. */
  private fill(): void {
    const { ring, calls } = this;
    const first = ring.reqProdPvt;
    while (this.put < calls.length && ring.free() > 0) {
      const call = calls[this.put];
      const n = Math.min(HCRING_ELEMENTS, call.count - this.elementsPut);
      this.putSlot(call, n);
      this.elementsPut += n;
      if (this.elementsPut < call.count) continue;
      this.elementsPut = 0;
      this.put++;
    }
    if (ring.reqProdPvt !== first && ring.push()) this.bells.ring();
  }

  private putSlot(call: Call, n: number): void {
    const { ring, u32 } = this;
    const { cmd, words } = call;
    const at = ring.slot(ring.reqProdPvt) >> 2;
    const size = elementBytes(cmd) >> 2;
    const from = (HYPERCALL_HEADER_BYTES >> 2) + this.elementsPut * size;
    const to = at + (HCRING_FIRST >> 2);
    const end = n * size;
    u32[at] = (cmd & 0xffff) | (n << 16);
    copyWords(words, from, u32, to, end);
    ring.reqProdPvt = idxAdd(ring.reqProdPvt, 1);
  }

  private takeAnswer(): void {
    const { ring, u32, calls } = this;
    const call = calls[0];
    const { results } = call;
    const at = ring.slot(ring.rspCons) >> 2;
    const n = Math.min(HCRING_ELEMENTS, call.count - this.elementsAnswered);
    const size = resultBytes(call.cmd);
    const from = at + (HCRING_RESULTS >> 2);
    // A slot's results begin at a word: only the last slot of a call has not its 64 elements.
    const to = (this.elementsAnswered * size) >> 2;
    const end = (n * size + 3) >> 2;
    const rc = (u32[at] << 16) >> 16;
    if (rc === 0) for (let i = 0; i < end; i++) results[to + i] = u32[from + i];
    else if (this.rc === 0) this.rc = rc;
    ring.rspCons = idxAdd(ring.rspCons, 1);
    this.elementsAnswered += n;
    if (this.elementsAnswered < call.count) return;
    const outcome = this.rc;
    this.elementsAnswered = 0;
    this.rc = 0;
    calls.shift();
    this.put--;
    if (call.isAwaited) this.bells.leave();
    // It may call again at once: all is in order by now.
    call.answer(outcome);
  }
}
