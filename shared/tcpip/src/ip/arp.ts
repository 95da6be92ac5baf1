/** ARP: who has which address on the own network. Source: RFC 826; RFC 1122, 2.3.2; RFC 5227 for conflicts.
 *    0     2     4    5    6    8     14    18    24    28      behind the Ethernet header
 *    | hw  | prot| 6  | 4  | op | sha | spa | tha | tpa |
 *  An entry comes into being when we ask, or when we are asked. Unasked news only change entries that exist, and not
 *  within a second of the last change, so that one forged frame a minute does not lead a connection away unnoticed.
 *  Whose addresses were given by somebody who knows (`give`), nobody else can claim. */
import type { PrivateMemory } from '@grantline/machine';
import {
  ETH_BYTES,
  ETH_DST,
  writeMac,
  ETHERTYPE_ARP,
  isGroup,
  macHi,
  macLo,
  writeEthernet,
  type Mac,
} from '@grantline/frames';
import { C, type Host } from '../host.js';
import { Timed } from '../storage/timer-heap.js';

const ARP_OP = 6;
const ARP_SHA = 8;
const ARP_SPA = 14;
const ARP_THA = 18;
const ARP_TPA = 24;
const ARP_BYTES = 28;
/** Hardware Ethernet, protocol IPv4, lengths 6 and 4. */
const ARP_HEAD_0 = 0x00010800;
const ARP_HEAD_1 = 0x0604;
const REQUEST = 1;
const REPLY = 2;
const BROADCAST: Mac = { hi: 0xffff, lo: -1 };
const NOBODY: Mac = { hi: 0, lo: 0 };

const RETRY_MS = 1000;
const TRIES = 3;
/** A changed address is not taken sooner after the last confirmation, unless we have asked. */
const LOCK_MS = 1000;

/** Address not known; asked for; known; gone from the table (its holder looks again). */
const NEIGHBOR_NEW = 0;
const NEIGHBOR_ASKED = 1;
export const NEIGHBOR_KNOWN = 2;
export const NEIGHBOR_GONE = 3;

/** Something that wants to send and waits for the address. */
export interface AddressWaiter {
  /** @param known false: nobody answered */
  addressDone(known: boolean): void;
}

export class Arp {
  readonly waiting: WaitingPackets;
  private readonly host: Host;
  private readonly table = new Map<number, Neighbor>();
  private readonly everybody: Neighbor;
  /** Addresses that were given, and to whom. */
  private readonly owners = new Map<number, Mac>();
  /** The one asked for last: packets come in trains. */
  private lastIp = 0;
  private lastOwner: Mac | null = null;
  private defendedMs = -RETRY_MS;
  private readonly onExpire = (n: Neighbor): void => this.expired(n);

  constructor(host: Host, space: PrivateMemory) {
    this.host = host;
    this.waiting = new WaitingPackets(host, space);
    this.everybody = new Neighbor(-1, this.onExpire);
    this.everybody.state = NEIGHBOR_KNOWN;
    this.everybody.hi = BROADCAST.hi;
    this.everybody.lo = BROADCAST.lo;
    this.everybody.confirmedMs = Infinity;
  }

  get entries(): number {
    return this.table.size;
  }

  /** From now on that address is at that MAC address and at no other. @param mac null: that is over */
  give(ip: number, mac: Mac | null): void {
    this.lastIp = 0;
    if (mac === null) this.owners.delete(ip | 0);
    else this.owners.set(ip | 0, mac);
  }

  /** @param ip signed @returns true when the address was given to somebody who is not at that MAC address */
  isForged(ip: number, hi: number, lo: number): boolean {
    if (this.owners.size === 0) return false;
    if (ip !== this.lastIp) {
      this.lastIp = ip;
      this.lastOwner = this.owners.get(ip) ?? null;
    }
    const { lastOwner } = this;
    return lastOwner !== null && (lastOwner.hi !== hi || lastOwner.lo !== lo);
  }

  /** The neighbour that a packet to an address goes to, the gateway for all that is not on the own network.
   *  @returns null when there is no way */
  route(ip: number): Neighbor | null {
    const { host } = this;
    if (host.ip === 0 || ip === host.ip) return null;
    if (host.isBroadcast(ip)) return this.everybody;
    if (!host.isUnicast(ip)) return null;
    const hop = ((ip ^ host.ip) & host.mask) === 0 ? ip : host.gateway;
    if (hop === 0 || hop === host.ip) return null;
    return this.table.get(hop) ?? this.create(hop);
  }

  /** To be called before each use. Asks for the address when it is unknown or old.
   *  @returns true when it can be used now */
  ready(n: Neighbor): boolean {
    const { host } = this;
    if (n.state === NEIGHBOR_KNOWN) {
      n.usedMs = host.now;
      if (host.now - n.confirmedMs > host.set.arpStaleMs && host.now - n.askedMs > RETRY_MS) this.ask(n, n);
      return true;
    }
    if (n.state === NEIGHBOR_NEW) {
      n.usedMs = host.now;
      n.state = NEIGHBOR_ASKED;
      n.tries = 1;
      this.ask(n, BROADCAST);
      host.timers.wake(n, host.now + RETRY_MS);
    }
    return false;
  }

  /** Calls back once the address is known or given up. */
  wait(n: Neighbor, waiter: AddressWaiter): void {
    n.waiters.push(waiter);
  }

  /** Tells everybody the own address (gratuitous ARP, RFC 5227, 2.3). */
  private announce(): void {
    this.transmit(REQUEST, BROADCAST, NOBODY, this.host.ip);
  }

  /** Takes a frame whose EtherType is ARP. */
  input(frame: number, bytes: number): void {
    const { host } = this;
    const { mem, v } = host;
    const dv = mem.dv;
    const at = frame + ETH_BYTES;
    v[C.arpIn]++;
    if (bytes < ETH_BYTES + ARP_BYTES || dv.getInt32(at) !== ARP_HEAD_0 || dv.getUint16(at + 4) !== ARP_HEAD_1) {
      v[C.arpBad]++;
      return;
    }
    const op = dv.getUint16(at + ARP_OP);
    const sha: Mac = { hi: macHi(mem, at + ARP_SHA), lo: macLo(mem, at + ARP_SHA) };
    const spa = dv.getInt32(at + ARP_SPA);
    const tpa = dv.getInt32(at + ARP_TPA);
    const badSender = isGroup(sha.hi) || (sha.hi === 0 && sha.lo === 0) || (spa !== 0 && !host.isUnicast(spa));
    if ((op !== REQUEST && op !== REPLY) || badSender) {
      v[C.arpBad]++;
      return;
    }
    if (host.ip === 0) return;
    if (spa === host.ip) {
      if (sha.hi !== host.mac.hi || sha.lo !== host.mac.lo) this.defend();
      return;
    }
    if (this.isForged(spa, sha.hi, sha.lo)) {
      v[C.dropSpoofed]++;
      return;
    }
    const isForUs = tpa === host.ip;
    if (spa !== 0) this.learn(spa, sha, isForUs && op === REQUEST);
    if (isForUs && op === REQUEST) this.transmit(REPLY, sha, sha, spa);
  }

  private learn(ip: number, mac: Mac, create: boolean): void {
    const { host } = this;
    let n = this.table.get(ip);
    if (n === undefined) {
      // A reply that nobody asked for makes no entry.
      if (!create || ((ip ^ host.ip) & host.mask) !== 0) return;
      n = this.create(ip);
    }
    const asked = host.now - n.askedMs < TRIES * RETRY_MS && n.askedMs >= n.confirmedMs;
    const changed = n.hi !== mac.hi || n.lo !== mac.lo;
    if (n.state === NEIGHBOR_KNOWN && changed && !asked && host.now - n.confirmedMs < LOCK_MS) {
      host.v[C.arpIgnored]++;
      return;
    }
    const waited = n.state === NEIGHBOR_ASKED;
    n.state = NEIGHBOR_KNOWN;
    n.hi = mac.hi;
    n.lo = mac.lo;
    n.confirmedMs = host.now;
    n.usedMs = host.now;
    host.timers.remove(n);
    host.timers.wake(n, host.now + 3 * host.set.arpStaleMs);
    if (waited) {
      this.waiting.send(n);
      this.done(n, true);
    }
  }

  private expired(n: Neighbor): void {
    const { host } = this;
    if (n.state === NEIGHBOR_ASKED && n.tries < TRIES) {
      n.tries++;
      this.ask(n, BROADCAST);
      host.timers.wake(n, host.now + RETRY_MS);
      return;
    }
    if (n.state === NEIGHBOR_ASKED) host.v[C.arpFailed]++;
    this.remove(n);
  }

  private create(ip: number): Neighbor {
    const { host, table } = this;
    if (table.size >= host.set.arpEntries) {
      // Those that nobody has answered for go first: a flood from addresses that are not there costs nobody else his.
      let oldest: Neighbor | undefined;
      for (const n of table.values()) {
        if (n.state !== NEIGHBOR_KNOWN) {
          oldest = n;
          break;
        }
        if (oldest === undefined || n.usedMs < oldest.usedMs) oldest = n;
      }
      host.v[C.arpEvicted]++;
      this.remove(oldest!);
    }
    const n = new Neighbor(ip, this.onExpire);
    n.usedMs = host.now;
    table.set(ip, n);
    host.timers.wake(n, host.now + 3 * host.set.arpStaleMs);
    return n;
  }

  private remove(n: Neighbor): void {
    this.table.delete(n.ip);
    this.host.timers.remove(n);
    n.state = NEIGHBOR_GONE;
    this.waiting.drop(n);
    this.done(n, false);
  }

  private done(n: Neighbor, known: boolean): void {
    for (const waiter of n.waiters.splice(0)) waiter.addressDone(known);
  }

  private defend(): void {
    this.host.v[C.arpConflict]++;
    if (this.host.now - this.defendedMs < RETRY_MS) return;
    this.defendedMs = this.host.now;
    this.announce();
  }

  private ask(n: Neighbor, to: Mac): void {
    n.askedMs = this.host.now;
    this.transmit(REQUEST, to, NOBODY, n.ip);
  }

  private transmit(op: number, to: Mac, tha: Mac, tpa: number): void {
    const { host } = this;
    const { mem } = host;
    const bytes = ETH_BYTES + ARP_BYTES;
    const frame = host.link.reserve(bytes);
    if (frame < 0) {
      host.v[C.linkFull]++;
      return;
    }
    const at = frame + ETH_BYTES;
    writeEthernet(mem, frame, to, host.mac, ETHERTYPE_ARP);
    mem.dv.setInt32(at, ARP_HEAD_0);
    mem.dv.setUint16(at + 4, ARP_HEAD_1);
    mem.dv.setUint16(at + ARP_OP, op);
    writeMac(mem, at + ARP_SHA, host.mac);
    mem.dv.setInt32(at + ARP_SPA, host.ip);
    writeMac(mem, at + ARP_THA, tha);
    mem.dv.setInt32(at + ARP_TPA, tpa);
    host.v[C.arpOut]++;
    host.send(frame, bytes, 0, 0, 0);
  }
}

/** Somebody on the own network, and the packets that wait for the address. */
export class Neighbor extends Timed {
  readonly ip: number;
  state = NEIGHBOR_NEW;
  hi = 0;
  lo = 0;
  /** Times in the stack's milliseconds: last confirmed, asked for, used. */
  confirmedMs = 0;
  askedMs = -1e9;
  usedMs = 0;
  tries = 0;
  readonly waiters: AddressWaiter[] = [];
  private readonly expired: (neighbor: Neighbor) => void;

  constructor(ip: number, expired: (neighbor: Neighbor) => void) {
    super();
    this.ip = ip;
    this.expired = expired;
  }

  override expire(): void {
    this.expired(this);
  }
}

/** Packets that wait for an address (RFC 1122, 2.3.2.2): a fixed number of slots of MTU size for all neighbours. */
class WaitingPackets {
  private readonly host: Host;
  private readonly base: number;
  private readonly stride: number;
  private readonly waitsFor: (Neighbor | null)[];
  private readonly bytes: Int32Array;
  private readonly csumStart: Int32Array;
  private readonly csumOffset: Int32Array;

  constructor(host: Host, space: PrivateMemory) {
    const slots = host.set.arpQueue;
    this.host = host;
    this.stride = (host.set.mtu + ETH_BYTES + 63) & ~63;
    this.base = space.mapPrivate(slots * this.stride);
    this.waitsFor = new Array<Neighbor | null>(slots).fill(null);
    this.bytes = new Int32Array(slots);
    this.csumStart = new Int32Array(slots);
    this.csumOffset = new Int32Array(slots);
  }

  /** @returns byte offset of room for a packet up to the MTU, or -1 when all is taken */
  reserve(): number {
    const slot = this.waitsFor.indexOf(null);
    if (slot < 0) {
      this.host.v[C.arpQueueDrop]++;
      return -1;
    }
    return this.base + slot * this.stride;
  }

  /** Keeps the frame that stands at the reserved offset, for NetLink.send later. */
  keep(at: number, neighbor: Neighbor, bytes: number, csumStart: number, csumOffset: number): void {
    const slot = (at - this.base) / this.stride;
    this.waitsFor[slot] = neighbor;
    this.bytes[slot] = bytes;
    this.csumStart[slot] = csumStart;
    this.csumOffset[slot] = csumOffset;
  }

  /** Sends what waited for a neighbour, now that the address is known. */
  send(neighbor: Neighbor): void {
    const { host } = this;
    for (let slot = 0; slot < this.waitsFor.length; slot++) {
      if (this.waitsFor[slot] !== neighbor) continue;
      this.waitsFor[slot] = null;
      const bytes = this.bytes[slot];
      const to = host.link.reserve(bytes);
      if (to < 0) {
        host.v[C.linkFull]++;
        continue;
      }
      const from = this.base + slot * this.stride;
      host.mem.u8.copyWithin(to, from, from + bytes);
      writeMac(host.mem, to + ETH_DST, neighbor);
      host.send(to, bytes, this.csumStart[slot], this.csumOffset[slot], 0);
    }
  }

  /** Drops what waited for a neighbour. */
  drop(neighbor: Neighbor): void {
    for (let slot = 0; slot < this.waitsFor.length; slot++) {
      if (this.waitsFor[slot] !== neighbor) continue;
      this.waitsFor[slot] = null;
      this.host.v[C.arpQueueDrop]++;
    }
  }
}
