/** What all layers of one stack share: memory, settings, counters, time, timers, own addresses, the way out. */
import { slots, type Mem } from '@grantline/machine';
import type { Mac } from '@grantline/frames';
import { KeyedHash, type Secret } from './storage/keyed-hash.js';
import { NET_COUNTERS } from './counters.js';
import type { NetSettings } from './settings.js';
import { TimerHeap } from './storage/timer-heap.js';

/** The device has verified the checksum of the transport header (and of the IP header). */
export const RX_CHECKSUM_OK = 1;
/** The sender sits on the same machine and left the checksum to a device that the packet never met: the field holds the
 *  sum of the pseudo header only (netif's csum_blank, virtio's NEEDS_CSUM). Nothing to verify. */
export const RX_CHECKSUM_BLANK = 2;

/** What the stack stands on: something that takes frames to the wire, and hands frames in by NetStack.input.
 *
 *  Frames lie in the memory that stack and link share (one Mem); offsets are the currency, nothing is allocated for a
 *  frame. */
export interface NetLink {
  /** The same as the stack's. */
  readonly mem: Mem;
  /** Asks for contiguous room in the transmit area. Reserves nothing yet: a second call may give the same room.
   *  @param bytes whole frame, Ethernet header included; more than the MTU only when segmentation offload is on
   *  @returns byte offset, or -1: full. The stack then stops and goes on at the next flush */
  reserve(bytes: number): number;
  /** Sends what was written at the offset that the last reserve gave.
   *  @param bytes not more than was reserved
   *  @param csumStart 0: the checksum is complete. Else where the transport header starts, from the frame's start: the
   *    device sums from there to the end and stores the result csumOffset further on, where the sum of the pseudo
   *    header stands now
   *  @param gsoSize 0, or the payload bytes of each segment that the device makes of the packet (TCP over IPv4) */
  send(at: number, bytes: number, csumStart: number, csumOffset: number, gsoSize: number): void;
}

/** Counter slots of a stack. */
export const C = slots(NET_COUNTERS);

export interface HostAddress {
  mac: Mac;
  /** Unsigned, as parseIp gives it. */
  ip: number;
  /** Length of the network's prefix: who is reached without the gateway. */
  prefix: number;
  gateway?: number;
}

export class Host {
  readonly mem: Mem;
  readonly link: NetLink;
  readonly set: NetSettings;
  /** Counters, by the slots of C. */
  readonly v: Float64Array;
  readonly hash: KeyedHash;
  readonly timers = new TimerHeap();
  /** Milliseconds since the stack began, whole; and the same in microseconds. Set by poll. */
  now = 0;
  nowUs = 0;
  mac: Mac = { hi: 0, lo: 0 };
  /** Own address and the others that belong to it, as signed numbers; 0: none. */
  ip = 0;
  mask = 0;
  gateway = 0;

  constructor(link: NetLink, settings: NetSettings, counters: Float64Array, secret: Secret) {
    this.mem = link.mem;
    this.link = link;
    this.set = settings;
    this.v = counters;
    this.hash = new KeyedHash(secret);
  }

  setAddress(a: HostAddress): void {
    this.mac = a.mac;
    this.ip = a.ip | 0;
    this.mask = a.prefix === 0 ? 0 : -1 << (32 - a.prefix);
    this.gateway = (a.gateway ?? 0) | 0;
  }

  /** Everybody on the own network, or everybody. */
  isBroadcast(ip: number): boolean {
    return ip === -1 || (~this.mask >>> 0 > 1 && ip === (this.ip | ~this.mask));
  }

  /** An address that one machine can have: not 0, not multicast, not broadcast, not loopback. */
  isUnicast(ip: number): boolean {
    const high = ip >>> 24;
    return high !== 0 && high < 224 && high !== 127 && !this.isBroadcast(ip);
  }

  /** Hands a whole frame to the link: see NetLink.send. */
  send(at: number, bytes: number, csumStart: number, csumOffset: number, gsoSize: number): void {
    this.v[C.outPackets]++;
    this.v[C.outBytes] += bytes;
    this.link.send(at, bytes, csumStart, csumOffset, gsoSize);
  }
}
