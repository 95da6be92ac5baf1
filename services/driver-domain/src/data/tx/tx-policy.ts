/** Where a packet from a guest goes, and whether it may: the bridge's rules for what comes in by a vif. docs/wire/transmit.md.
 *
 *  Behind a vif there is one station, whose addresses the toolstack gave: others are spoofed, unless the toolstack says that the
 *  vif is nested. Group addresses are limited in rate, for each costs a copy per vif. */
import { slots, type Mem } from '@grantline/machine';
import { NETBACK_TX_COUNTERS } from '@grantline/observe';
import type { SourceRule } from '@grantline/frames';
import { UPLINK, type Bridge } from '../bridge/bridge.js';

const C = slots(NETBACK_TX_COUNTERS);

/** Group-addressed frames of one vif: so many at once, and so many a second. */
export const STORM_BURST = 256;
export const STORM_PER_SECOND = 1000;

/** Verdicts; a port of the bridge otherwise. */
export const TO_ALL = -1;
export const SPOOFED = -2;
export const STORM = -3;
export const HAIRPIN = -4;
/** Counter of each verdict, by its negated value. */
export const REFUSAL_COUNTERS = [-1, -1, C.dropSpoofed, C.dropStorm, C.dropHairpin];

export class TxPolicy {
  private readonly u16: Uint16Array;
  private readonly bridge: Bridge;
  private readonly port: number;
  private readonly source: SourceRule | null;
  private tokens = STORM_BURST;
  private filledNs = 0;

  /** @param source the guest's addresses; null: any source may be used */
  constructor(mem: Mem, bridge: Bridge, port: number, source: SourceRule | null) {
    this.u16 = mem.u16;
    this.bridge = bridge;
    this.port = port;
    this.source = source;
  }

  /** @param at byte offset of a copied header @param bytes of it, at least 14: all of the packet, or 128
   *  @param frames that the packet will be cut into
   *  @returns the port that the packet leaves by, or a verdict */
  judge(at: number, bytes: number, nowNs: number, frames: number): number {
    const u16 = this.u16;
    const h = at >> 1;
    const { source, bridge } = this;
    if (source !== null) {
      if (!source.allows(at, bytes)) return SPOOFED;
      // Several stations behind one vif: the others find them as they would behind a switch.
      if (source.nested) bridge.learn(u16[h + 3] | (u16[h + 4] << 16), u16[h + 5], this.port, nowNs);
    }
    const a = u16[h] | (u16[h + 1] << 16);
    if ((a & 1) !== 0) return this.mayFlood(nowNs, frames) ? TO_ALL : STORM;
    const { table } = bridge;
    const slot = table.find(a, u16[h + 2]);
    // All guests' addresses are known: what is not, lies behind the cable.
    if (slot < 0) return UPLINK;
    const to = table.port[slot];
    return to === this.port ? HAIRPIN : to;
  }

  private mayFlood(nowNs: number, frames: number): boolean {
    this.tokens = Math.min(STORM_BURST, this.tokens + ((nowNs - this.filledNs) * STORM_PER_SECOND) / 1e9);
    this.filledNs = nowNs;
    if (this.tokens < frames) return false;
    this.tokens -= frames;
    return true;
  }
}
