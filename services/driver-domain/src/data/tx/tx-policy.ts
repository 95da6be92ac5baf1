/** Where a packet from a guest goes, and whether it may: the bridge's rules for what comes in by a vif. docs/wire/transmit.md.
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
