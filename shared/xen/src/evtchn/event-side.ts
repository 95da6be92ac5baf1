/** Pending and mask bits of the channels between one pair of domains. Sources: Xen public/xen.h, event_2l.c.
 *  docs/wire/event-channel.md: the bitmap is cut by peer, because here the sender sets the bit itself.
 *
 *  No payload, no count: "at least one since you last cleared". Sending never blocks. */
import { EVTCHN_MASK, EVTCHN_PENDING, EVTCHN_SELECTOR, EVTCHN_SIDE_BYTES, EVTCHN_WORDS } from '../abi/event-channel.js';
import type { DomId, Port } from '@grantline/base';
import type { Mem } from '@grantline/machine';

/** One side's bits: its owner clears and masks, the peer sets. */
export class EventSide {
  private readonly i32: Int32Array;
  private readonly selector: number;
  private readonly pending: number;
  private readonly mask: number;

  /** @param base byte offset of the pair's page
   *  @param owner the domain whose ports these are
   *  @param peer the domain at the other end */
  constructor(mem: Mem, base: number, owner: DomId, peer: DomId) {
    this.i32 = mem.i32;
    const side = base + (owner < peer ? 0 : EVTCHN_SIDE_BYTES);
    this.selector = (side + EVTCHN_SELECTOR) >> 2;
    this.pending = (side + EVTCHN_PENDING) >> 2;
    this.mask = (side + EVTCHN_MASK) >> 2;
  }

  /** Sender: marks `port` pending. @returns true when the owner's doorbell must be rung; false when the bit was set
   *  already (edges coalesce) or is masked */
  raise(port: Port): boolean {
    const word = port >> 5;
    const bit = 1 << (port & 31);
    if ((Atomics.or(this.i32, this.pending + word, bit) & bit) !== 0) return false;
    if ((Atomics.load(this.i32, this.mask + word) & bit) !== 0) return false;
    Atomics.or(this.i32, this.selector, 1 << word);
    return true;
  }

  /** Owner: masks a port; sends then only mark it. */
  setMask(port: Port): void {
    Atomics.or(this.i32, this.mask + (port >> 5), 1 << (port & 31));
  }

  /** Owner: unmasks a port. @returns true when an event had come meanwhile: handle it now, no ring will come for it */
  clearMask(port: Port): boolean {
    const word = port >> 5;
    const bit = 1 << (port & 31);
    Atomics.and(this.i32, this.mask + word, ~bit);
    return this.select(port);
  }

  /** Makes the owner look at the port again if it is pending. @returns true when it is */
  select(port: Port): boolean {
    const word = port >> 5;
    if ((Atomics.load(this.i32, this.pending + word) & (1 << (port & 31))) === 0) return false;
    Atomics.or(this.i32, this.selector, 1 << word);
    return true;
  }

  clear(port: Port): void {
    Atomics.and(this.i32, this.pending + (port >> 5), ~(1 << (port & 31)));
  }

  isPending(port: Port): boolean {
    return (Atomics.load(this.i32, this.pending + (port >> 5)) & (1 << (port & 31))) !== 0;
  }

  /** Owner: takes every pending and unmasked port; each bit is cleared before `handle` runs, so that an event during
   *  the handler is not lost. @returns ports handled */
  dispatch(handle: (port: Port) => void): number {
    let count = 0;
    // Nearly always, and of each of many peers: a look takes the line from nobody.
    if (Atomics.load(this.i32, this.selector) === 0) return 0;
    let selected = Atomics.exchange(this.i32, this.selector, 0);
    while (selected !== 0) {
      const word = 31 - Math.clz32(selected & -selected);
      selected &= selected - 1;
      if (word >= EVTCHN_WORDS) continue;
      let ready = Atomics.load(this.i32, this.pending + word) & ~Atomics.load(this.i32, this.mask + word);
      while (ready !== 0) {
        const bit = ready & -ready;
        ready &= ready - 1;
        Atomics.and(this.i32, this.pending + word, ~bit);
        count++;
        handle(((word << 5) + 31 - Math.clz32(bit)) as Port);
      }
    }
    return count;
  }
}
