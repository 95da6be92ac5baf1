/** What all layers of one stack share: memory, settings, counters, time, timers, own addresses, the way out. */
import { slots, type Mem } from '@grantline/machine';
import type { Mac } from '@grantline/frames';
import { KeyedHash } from './storage/keyed-hash.js';
import type { NetLink } from './link.js';
import { NET_COUNTERS } from './counters.js';
import type { Secret } from './storage/secret.js';
import type { NetSettings } from './settings.js';
import { TimerHeap } from './storage/timer-heap.js';

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
