/** Where a packet from a guest goes, whether it may, and how much a vif may send: the bridge's rules for what comes in by a vif.
 *  docs/wire/transmit.md.
 *
 *  Behind a vif there is one station, whose addresses the toolstack gave: others are spoofed, unless the toolstack says that the
 *  vif is nested. Group addresses are limited in rate, for each costs a copy per vif. */
import { slots, type Mem } from '@grantline/machine';
import { NETBACK_TX_COUNTERS } from '@grantline/observe';
import * as frames from '@grantline/frames';
import { SenderRule, type SourceRule } from '@grantline/frames';
import { UPLINK, type Bridge } from '../bridge/bridge.js';

// Local, so that the engine folds them into the code: see flow-templates.ts.
const { ETH_DST, ETH_SRC, macHi, macLo } = frames;
const { HAIRPIN, SPOOFED, TO_ONE } = frames;
const C = slots(NETBACK_TX_COUNTERS);
/** Counter of each verdict of sender-rule.ts, by its negated value. */
export const REFUSAL_COUNTERS = [-1, -1, -1, C.dropSpoofed, C.dropStorm, C.dropHairpin];
/** A window always lets the largest packet through, whatever the rate (131072 in Linux). */
export const BURST_BYTES = 131072;

export class TxPolicy {
  private readonly mem: Mem;
  private readonly bridge: Bridge;
  private readonly port: number;
  private readonly source: SourceRule | null;
  private readonly rule: SenderRule;

  /** @param source the guest's addresses; null: any source may be used */
  constructor(mem: Mem, bridge: Bridge, port: number, source: SourceRule | null) {
    this.mem = mem;
    this.bridge = bridge;
    this.port = port;
    this.source = source;
    this.rule = new SenderRule(mem, source);
  }

  /** @param at byte offset of a copied header @param bytes of it, at least 14: all of the packet, or 128
   *  @param frames that the packet will be cut into
   *  @returns the port that the packet leaves by, or a verdict of sender-rule.ts but TO_ONE */
  judge(at: number, bytes: number, nowNs: number, frames: number): number {
    const { mem, bridge, source, port } = this;
    const verdict = this.rule.judge(at, bytes, nowNs, frames);
    // Several stations behind one vif: the others find them as they would behind a switch.
    if (source !== null && source.nested && verdict !== SPOOFED)
      bridge.learn(macHi(mem, at + ETH_SRC), macLo(mem, at + ETH_SRC), port, nowNs);
    if (verdict !== TO_ONE) return verdict;
    const { table } = bridge;
    const slot = table.find(macHi(mem, at + ETH_DST), macLo(mem, at + ETH_DST));
    // All guests' addresses are known: what is not, lies behind the cable.
    if (slot < 0) return UPLINK;
    const to = table.port[slot];
    return to === port ? HAIRPIN : to;
  }
}

/** How much a vif may send: so many bytes in a window of so many microseconds. Source: Linux xen-netback (tx_credit_exceeded,
 *  tx_add_credit), xenstore node `rate`, "bytes,usec". */
export class TxCredit {
  /** When there is credit again, after `allows` said no; nanoseconds. */
  refillAtNs = 0;
  private bytes = Infinity;
  private windowNs = 0;
  private left = Infinity;
  private windowEndNs = 0;

  /** @param text of the xenstore node; null, or what is no rate: no limit, as Linux has it
   *  @returns false when the text is no rate */
  set(text: string | null): boolean {
    const parts = text === null ? null : /^(\d{1,10}),(\d{1,10})$/.exec(text);
    const bytes = Number(parts?.[1] ?? 0);
    const usec = Number(parts?.[2] ?? 0);
    const limited = bytes > 0 && usec > 0;
    this.bytes = limited ? bytes : Infinity;
    this.windowNs = limited ? usec * 1000 : 0;
    this.left = this.bytes;
    this.windowEndNs = 0;
    return text === null || parts !== null;
  }

  /** @returns true when a packet of so many bytes may go. @param nowNs monotonic */
  allows(bytes: number, nowNs: number): boolean {
    if (this.bytes === Infinity) return true;
    if (nowNs >= this.windowEndNs) {
      // Credit of an idle time is kept up to a burst, so that a packet larger than a window's bytes goes out at last.
      const most = Math.max(this.bytes, Math.min(BURST_BYTES, Math.max(bytes, this.bytes)));
      this.left = Math.min(most, (this.left === Infinity ? 0 : this.left) + this.bytes);
      this.windowEndNs = nowNs + this.windowNs;
    }
    if (bytes <= this.left) return true;
    this.refillAtNs = this.windowEndNs;
    return false;
  }

  /** A packet goes. What was charged beyond the credit is missing in the next window. */
  charge(bytes: number): void {
    this.left -= bytes;
  }
}
