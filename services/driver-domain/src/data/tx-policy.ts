/** Where a packet from a guest goes, and whether it may: the bridge's rules for what comes in by a vif. docs/wire/transmit.md.
 *
 *  Behind a vif there is one station, whose address the toolstack gave: another source address is spoofed. Group
 *  addresses are limited in rate, for each costs a copy per vif. */
import { slots } from '@grantline/shared/counters/block.js';
import { NETBACK_TX_COUNTERS } from '@grantline/shared/counters/names.js';
import type { Mem } from '@grantline/shared/mem/address-space.js';
import { UPLINK } from './bridge.js';
import type { BridgeTable } from './bridge-table.js';

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
  private readonly table: BridgeTable;
  private readonly port: number;
  private readonly own: { a: number; b: number } | null;
  private tokens = STORM_BURST;
  private filledNs = 0;

  /** @param own the guest's address; null: any source may be used */
  constructor(mem: Mem, table: BridgeTable, port: number, own: { a: number; b: number } | null) {
    this.u16 = mem.u16;
    this.table = table;
    this.port = port;
    this.own = own;
  }

  /** @param at byte offset of a copied header of at least 14 bytes
   *  @param frames that the packet will be cut into
   *  @returns the port that the packet leaves by, or a verdict */
  judge(at: number, nowNs: number, frames: number): number {
    const u16 = this.u16;
    const h = at >> 1;
    const { own } = this;
    if (own !== null && ((u16[h + 3] | (u16[h + 4] << 16)) !== own.a || u16[h + 5] !== own.b)) return SPOOFED;
    const a = u16[h] | (u16[h + 1] << 16);
    if ((a & 1) !== 0) return this.mayFlood(nowNs, frames) ? TO_ALL : STORM;
    const slot = this.table.find(a, u16[h + 2]);
    // All guests' addresses are known: what is not, lies behind the cable.
    if (slot < 0) return UPLINK;
    const to = this.table.port[slot];
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
