/** What a sender may do, by one rule for the vifs of the bridge and for the functions of the NIC's embedded switch: no
 *  addresses but its own, and not many frames to groups. docs/wire/transmit.md section 4, section 8. */
import { GENERATOR_IP, GENERATOR_MAC, OUTER_IP, OUTER_MAC } from '@grantline/base';
import type { Mem } from '@grantline/machine';
import * as headers from './headers.js';
import {
  ETHERTYPE_ARP,
  ETHERTYPE_IPV4,
  ETHERTYPE_IPV6,
  ETH_BYTES,
  ETH_SRC,
  ETH_TYPE,
  MAX_VLAN_TAGS,
  VLAN_BYTES,
  isVlan,
  parseMac,
  IP_BYTES,
  IP_SRC,
  parseIp,
  type Mac,
} from './headers.js';
import { swap16 } from './checksum.js';

// Local, so that the engine folds them into the code: see flow-templates.ts.
const { isGroup, macHi, macLo } = headers;

/** Verdicts on a packet, all negative: whom it goes to otherwise is a port or a queue of whoever asks. */
export const TO_ONE = -1;
export const TO_ALL = -2;
export const SPOOFED = -3;
export const STORM = -4;
export const HAIRPIN = -5;

/** Group-addressed frames of one sender: so many at once, and so many a second. */
export const STORM_BURST = 256;
export const STORM_PER_SECOND = 1000;

/** IPv4's EtherType as a half word of memory. */
const IPV4_WORD = 0x0008;
const ETHERTYPE_RARP = 0x8035;
/** Smaller values of the type field are lengths: IEEE 802.2 follows. */
const FIRST_ETHERTYPE = 0x0600;
/** Service access points: IPv4 and ARP straight in LLC (RFC 948), and SNAP (RFC 1042). */
const LLC_IP = 0x06;
const LLC_ARP = 0x98;
const LLC_SNAP = 0xaa;
const SNAP_BYTES = 8;
const ARP_BYTES = 28;
/** Ethernet, IPv4, lengths 6 and 4. */
const ARP_HEAD_0 = 0x00010800;
const ARP_HEAD_1 = 0x0604;
const ARP_SHA = 8;
const ARP_SPA = 14;
const IP6_BYTES = 40;
const IP6_PAYLOAD = 4;
const IP6_NEXT = 6;
const IP6_SRC = 8;
const HOP_BY_HOP = 0;
const FRAGMENT = 44;
const ICMP6 = 58;
/** Extension headers behind which something else may stand: routing, AH, destination, mobility, HIP, shim6, experiments. */
const HIDING = new Set([HOP_BY_HOP, 43, 51, 60, 135, 139, 140, 253, 254]);
const ROUTER_SOLICITATION = 133;
const ROUTER_ADVERTISEMENT = 134;
const NEIGHBOR_SOLICITATION = 135;
const NEIGHBOR_ADVERTISEMENT = 136;
const REDIRECT = 137;
const ND_TARGET = 8;

/** Stations that there can be: guests, and those at the far end. */
const MAX_GIVEN = 64;

export class SenderRule {
  /** What its frames may say about where they come from; null: anything. */
  source: SourceRule | null;
  private readonly mem: Mem;
  private tokens = STORM_BURST;
  private filledNs = 0;

  constructor(mem: Mem, source: SourceRule | null) {
    this.mem = mem;
    this.source = source;
  }

  /** @param at byte offset of the packet, even @param bytes of it that lie there: at least 14, and all or 128
   *  @param frames that it will be cut into: each costs a copy for every receiver
   *  @returns TO_ONE, TO_ALL, SPOOFED or STORM */
  judge(at: number, bytes: number, nowNs: number, frames: number): number {
    const { source } = this;
    if (source !== null && !source.allows(at, bytes)) return SPOOFED;
    if (!isGroup(macHi(this.mem, at))) return TO_ONE;
    this.tokens = Math.min(STORM_BURST, this.tokens + ((nowNs - this.filledNs) * STORM_PER_SECOND) / 1e9);
    this.filledNs = nowNs;
    if (this.tokens < frames) return STORM;
    this.tokens -= frames;
    return TO_ALL;
  }
}

/** All addresses that the toolstack gave, to whomever, and those of the far end of the cable. */
export class GivenAddresses {
  private readonly mem: Mem;
  private readonly hi = new Float64Array(MAX_GIVEN);
  private readonly lo = new Float64Array(MAX_GIVEN);
  private readonly ip = new Float64Array(MAX_GIVEN);
  private readonly rules = new Array<SourceRule | null>(MAX_GIVEN).fill(null);

  constructor(mem: Mem) {
    this.mem = mem;
    this.add(OUTER_MAC, OUTER_IP);
    this.add(GENERATOR_MAC, GENERATOR_IP);
  }

  /** A station has these addresses from now on. @param ip null or '': none was given, so none is judged
   *  @throws RangeError when they are none, or there are too many stations */
  add(mac: string, ip: string | null): SourceRule {
    const at = this.rules.indexOf(null);
    if (at < 0) throw new RangeError(`there are more than ${MAX_GIVEN} stations`);
    const address = parseMac(mac);
    const rule = new SourceRule(this.mem, this, at, address, ip === null || ip === '' ? null : parseIp(ip));
    this.hi[at] = address.hi;
    this.lo[at] = address.lo;
    this.ip[at] = rule.ip ?? -1;
    this.rules[at] = rule;
    return rule;
  }

  remove(rule: SourceRule): void {
    if (this.rules[rule.index] !== rule) return;
    this.rules[rule.index] = null;
    this.hi[rule.index] = this.lo[rule.index] = this.ip[rule.index] = -1;
  }

  /** @returns the rule of the station with that address; null: there is none */
  ruleOf(mac: Mac): SourceRule | null {
    return this.rules.find((r, i) => r !== null && this.hi[i] === mac.hi && this.lo[i] === mac.lo) ?? null;
  }

  /** @returns true when the address is that of another station than number `but` */
  hasMac(hi: number, lo: number, but: number): boolean {
    for (let i = 0; i < MAX_GIVEN; i++)
      if (i !== but && this.rules[i] !== null && this.hi[i] === hi && this.lo[i] === lo) return true;
    return false;
  }

  /** @param ip unsigned */
  hasIp(ip: number, but: number): boolean {
    for (let i = 0; i < MAX_GIVEN; i++) if (i !== but && this.rules[i] !== null && this.ip[i] === ip) return true;
    return false;
  }
}

/** Where a guest's frame says that it comes from, held against the addresses that the toolstack gave: Ethernet source, ARP's
 *  sender, IPv4 source.
 *
 *  The common frame, untagged IPv4 of the own address, costs six comparisons of half words; all others are looked at closely.
 *  What cannot be judged - cut short, behind more tags or in an encapsulation that some kernel may unpack - is refused. */
export class SourceRule {
  /** Other machines may stand behind the guest (macvlan, a bridge, containers): any address but one that the toolstack gave to
   *  somebody else. */
  nested = false;
  /** Unsigned; null: none was given. */
  readonly ip: number | null;
  readonly index: number;
  private readonly mem: Mem;
  private readonly u16: Uint16Array;
  private readonly given: GivenAddresses;
  private readonly mac: Mac;
  /** The addresses as memory's half words have them. */
  private readonly m0: number;
  private readonly m1: number;
  private readonly m2: number;
  private readonly i0: number;
  private readonly i1: number;

  constructor(mem: Mem, given: GivenAddresses, index: number, mac: Mac, ip: number | null) {
    this.mem = mem;
    this.u16 = mem.u16;
    this.given = given;
    this.index = index;
    this.mac = mac;
    this.ip = ip;
    this.m0 = swap16(mac.hi);
    this.m1 = swap16(mac.lo >>> 16);
    this.m2 = swap16(mac.lo & 0xffff);
    this.i0 = ip === null ? -1 : swap16(ip >>> 16);
    this.i1 = ip === null ? -1 : swap16(ip & 0xffff);
  }

  /** @param at byte offset of the frame, even @param bytes of it that lie there: at least 14, and all or 128
   *  @returns false when it says that it comes from somebody else */
  allows(at: number, bytes: number): boolean {
    const { u16 } = this;
    const h = at >> 1;
    if (
      u16[h + 6] === IPV4_WORD &&
      u16[h + 14] === this.i1 &&
      u16[h + 13] === this.i0 &&
      u16[h + 5] === this.m2 &&
      u16[h + 4] === this.m1 &&
      u16[h + 3] === this.m0 &&
      bytes >= ETH_BYTES + IP_BYTES
    )
      return true;
    return this.looksRight(at, bytes);
  }

  private looksRight(at: number, bytes: number): boolean {
    const { dv, u8 } = this.mem;
    if (!this.isMac(at + ETH_SRC)) return false;
    if (this.ip === null) return true;
    const end = at + bytes;
    let l3 = at + ETH_BYTES;
    let type = dv.getUint16(at + ETH_TYPE);
    // A VLAN is a network of its own, in which nobody was given an address; number 0 is none.
    let vlan = false;
    for (let tags = 0; isVlan(type); tags++) {
      if (tags === MAX_VLAN_TAGS || l3 + VLAN_BYTES > end) return false;
      if ((dv.getUint16(l3) & 0x0fff) !== 0) vlan = true;
      type = dv.getUint16(l3 + 2);
      l3 += VLAN_BYTES;
    }
    if (type < FIRST_ETHERTYPE) {
      if (l3 + 3 > end) return true;
      const sap = u8[l3];
      if (sap === LLC_IP || sap === LLC_ARP) return false;
      if (sap !== LLC_SNAP) return true;
      if (l3 + SNAP_BYTES > end) return false;
      const organisation = dv.getUint16(l3 + 3) * 256 + u8[l3 + 5];
      // Of these two the rest is an EtherType: RFC 1042, IEEE 802.1H.
      if (organisation !== 0 && organisation !== 0xf8) return true;
      type = dv.getUint16(l3 + 6);
      l3 += SNAP_BYTES;
      if (isVlan(type)) return false;
    }
    if (type === ETHERTYPE_IPV4) {
      if (l3 + IP_BYTES > end) return false;
      const source = dv.getUint32(l3 + IP_SRC);
      // Who has no address yet asks all for one: DHCP.
      return source === 0 ? (u8[at] & 1) !== 0 : this.isIp(source, vlan);
    }
    if (type === ETHERTYPE_ARP || type === ETHERTYPE_RARP) {
      if (l3 + ARP_BYTES > end) return false;
      if (dv.getUint32(l3) !== ARP_HEAD_0 || dv.getUint16(l3 + 4) !== ARP_HEAD_1) return false;
      const sender = dv.getUint32(l3 + ARP_SPA);
      // No sender: a probe, whether somebody has an address (RFC 5227). It tells nobody anything.
      return this.isMac(l3 + ARP_SHA) && (sender === 0 || this.isIp(sender, vlan));
    }
    return type !== ETHERTYPE_IPV6 || this.nested || this.looksRight6(l3, end);
  }

  /** The toolstack gives no IPv6 address. The one that follows from the MAC address may be used, for itself alone. */
  private looksRight6(l3: number, end: number): boolean {
    const { dv, u8 } = this.mem;
    if (l3 + IP6_BYTES > end) return false;
    if (!this.isLinkLocal(l3 + IP6_SRC) && !this.isUnspecified(l3 + IP6_SRC)) return false;
    const stop = l3 + IP6_BYTES + dv.getUint16(l3 + IP6_PAYLOAD);
    let next = u8[l3 + IP6_NEXT];
    let o = l3 + IP6_BYTES;
    if (next === HOP_BY_HOP) {
      if (o + 8 > end) return false;
      next = u8[o];
      o += (u8[o + 1] + 1) * 8;
    }
    if (HIDING.has(next)) return false;
    if (next === FRAGMENT) return o + 8 <= end && u8[o] !== ICMP6 && !HIDING.has(u8[o]);
    if (next !== ICMP6) return true;
    if (o + 4 > end) return false;
    const type = u8[o];
    if (type === ROUTER_ADVERTISEMENT || type === REDIRECT) return false;
    if (type === ROUTER_SOLICITATION) return this.namesOwnMac(o + 8, stop, end);
    if (type !== NEIGHBOR_SOLICITATION && type !== NEIGHBOR_ADVERTISEMENT) return true;
    if (o + 24 > end || (type === NEIGHBOR_ADVERTISEMENT && !this.isLinkLocal(o + ND_TARGET))) return false;
    return this.namesOwnMac(o + 24, stop, end);
  }

  /** Options of neighbour discovery from `o` to `stop`, of which there is what lies before `end`. */
  private namesOwnMac(o: number, stop: number, end: number): boolean {
    const { u8 } = this.mem;
    if (stop > end) return false;
    while (o + 8 <= stop) {
      const type = u8[o];
      const words = u8[o + 1];
      if (words === 0) return false;
      // Link-layer address of the source, of the target.
      if ((type === 1 || type === 2) && !this.isMac(o + 2)) return false;
      o += words * 8;
    }
    return true;
  }

  private isMac(at: number): boolean {
    const hi = macHi(this.mem, at);
    const lo = macLo(this.mem, at);
    if (hi === this.mac.hi && lo === this.mac.lo) return true;
    return this.nested && !isGroup(hi) && (hi | lo) !== 0 && !this.given.hasMac(hi, lo, this.index);
  }

  /** @param free it may be any that is nobody else's */
  private isIp(ip: number, free: boolean): boolean {
    return ip === this.ip || ((free || this.nested) && !this.given.hasIp(ip, this.index));
  }

  private isUnspecified(at: number): boolean {
    const { dv } = this.mem;
    return (dv.getUint32(at) | dv.getUint32(at + 4) | dv.getUint32(at + 8) | dv.getUint32(at + 12)) === 0;
  }

  /** fe80::/64 with the modified EUI-64 of the MAC address: RFC 4291, appendix A. */
  private isLinkLocal(at: number): boolean {
    const { dv } = this.mem;
    const { hi, lo } = this.mac;
    return (
      dv.getUint32(at) === 0xfe800000 &&
      dv.getUint32(at + 4) === 0 &&
      dv.getUint32(at + 8) === (((hi ^ 0x0200) << 16) | ((lo >>> 16) & 0xff00) | 0xff) >>> 0 &&
      dv.getUint32(at + 12) === ((0xfe << 24) | (lo & 0xffffff)) >>> 0
    );
  }
}
