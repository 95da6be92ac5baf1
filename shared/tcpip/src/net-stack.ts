/** A TCP/IP stack of one network interface: Ethernet, ARP, IPv4, ICMP, UDP, TCP. Synchronous; owns no timer, reads no
 *  clock, allocates nothing for a frame. Its owner does, for each batch:
 *
 *      stack.poll(clock.nowNs());            // tells the time
 *      stack.input(at, bytes, flags, gso);   // for each frame
 *      stack.flush();                        // timers, callbacks of applications, acknowledgements and data out
 *
 *  and comes back at nextDeadlineNs, when the link has room again, or when onWork was called. */
import {
  ETHERTYPE_ARP,
  ETHERTYPE_IPV4,
  ETH_BYTES,
  ETH_DST,
  ETH_SRC,
  etherType,
  macHi,
  macLo,
  IP_BYTES,
  IP_SRC,
  PROTO_TCP,
  PROTO_UDP,
} from '@grantline/frames';
import type { PrivateMemory } from '@grantline/machine';
import { Arp } from './ip/arp.js';
import type { Connection } from './tcp/connection.js';
import { C, Host, type HostAddress, type NetLink } from './host.js';
import { Icmp, PROTO_ICMP } from './ip/icmp.js';
import { IpIn, MAX_PARTS, Packet, IpOut } from './ip/ipv4.js';
import { NET_COUNTERS } from './counters.js';
import type { Secret } from './storage/keyed-hash.js';
import { netSettings, type NetSettings } from './settings.js';
import type { ConnectionEvents, Listener } from './tcp/tcb.js';
import { tcpIcmpError } from './tcp/input.js';
import type { IsnChoice } from './tcp/context.js';
import { Tcp, type Accept } from './tcp/tcp.js';
import { Udp, type UdpHandler, type UdpSocket } from './ip/udp.js';

export interface NetStackOptions {
  link: NetLink;
  /** Where private memory comes from; over the same memory as the link. Takes the setting `memory` and about 1 MiB. */
  space: PrivateMemory;
  /** Fresh, and of this stack alone. */
  secret: Secret;
  address: HostAddress;
  settings?: Partial<NetSettings>;
  /** Join received segments in software (on unless told): see Coalescer. */
  coalesce?: boolean;
  /** A block named as NET_COUNTERS; without, the stack keeps its own. */
  counters?: { readonly v: Float64Array };
  /** Something outside `flush` made work for `flush`. */
  onWork?: () => void;
  /** `flush` begins to call applications back, and has done so: for accounting. */
  onEvents?: (begin: boolean) => void;
  /** Initial sequence numbers instead of RFC 6528's, for tests. */
  isn?: IsnChoice;
}

const BROADCAST_HI = 0xffff;
const BROADCAST_LO = -1;
/** Default bound of half-open connections of one listener. */
const BACKLOG = 1024;

export class NetStack {
  readonly host: Host;
  readonly arp: Arp;
  readonly tcp: Tcp;
  readonly udp: Udp;
  private readonly ipIn: IpIn;
  readonly icmp: Icmp;
  private readonly packet = new Packet();
  private originNs = -1;

  /** @throws RangeError when settings make no sense or there is too little memory */
  constructor(options: NetStackOptions) {
    const { link, space, secret } = options;
    const settings = netSettings(options.settings);
    const counters = options.counters?.v ?? new Float64Array(NET_COUNTERS.names.length);
    this.host = new Host(link, settings, counters, secret);
    this.host.setAddress(options.address);
    this.arp = new Arp(this.host, space);
    const out = new IpOut(this.host, this.arp, space);
    this.ipIn = new IpIn(this.host, space);
    this.icmp = new Icmp(this.host, out, (error) => tcpIcmpError(this.tcp.context, error));
    this.udp = new Udp(this.host, out, this.icmp);
    this.tcp = new Tcp(this.host, this.arp, out, space, options.coalesce ?? true);
    if (options.onWork) this.tcp.context.onWork = options.onWork;
    if (options.onEvents) this.tcp.context.onEvents = options.onEvents;
    if (options.isn) this.tcp.context.isn = options.isn;
  }

  /** Tells the time; at the beginning of each batch. Timers run in `flush`, behind the batch's frames: when this process
   *  has not had its core for a while, the acknowledgement that a timer waits for may be among them. */
  poll(nowNs: number): void {
    const { host } = this;
    if (this.originNs < 0) this.originNs = nowNs;
    host.nowUs = (nowNs - this.originNs) / 1000;
    // Starts at 1: 0 means "not running" in timers.
    host.now = Math.floor(host.nowUs / 1000) + 1;
  }

  /** When a timer is due; Infinity when nothing waits. */
  get nextDeadlineNs(): number {
    const next = this.host.timers.nextMs;
    return next === Infinity ? Infinity : this.originNs + (next - 1) * 1e6;
  }

  /** Takes a frame that lies in one piece, Ethernet header first, without FCS.
   *  @param flags RX_* of host.ts @param gsoSize payload of the segments that the packet was made of, or 0 */
  input(at: number, bytes: number, flags = 0, gsoSize = 0): void {
    const { packet } = this;
    packet.off[0] = at;
    packet.len[0] = bytes;
    packet.parts = 1;
    packet.bytes = bytes;
    this.take(flags, gsoSize);
  }

  /** Takes a frame in pieces; all headers must stand in the first. Pieces are the entries from..to-1. */
  inputParts(off: Int32Array, len: Int32Array, from: number, to: number, flags = 0, gsoSize = 0): void {
    const { packet } = this;
    if (to - from > MAX_PARTS || to <= from) {
      this.host.v[C.dropOversize]++;
      return;
    }
    let bytes = 0;
    for (let i = from; i < to; i++) {
      packet.off[i - from] = off[i];
      packet.len[i - from] = len[i];
      bytes += len[i];
    }
    packet.parts = to - from;
    packet.bytes = bytes;
    this.take(flags, gsoSize);
  }

  /** Hands joined segments on, so that the batch's frames are done with but for `flush`: only for who wants to tell the two
   *  apart. */
  work(): void {
    this.tcp.coalescer.flush();
  }

  /** Ends a batch. Returns with work left only when the link is full. */
  flush(): void {
    const { host, tcp } = this;
    tcp.coalescer.flush();
    host.timers.run(host.now);
    tcp.flush();
  }

  /** Nothing waits to be flushed. */
  get idle(): boolean {
    return this.tcp.context.idle;
  }

  /** Opens a connection; `events` hears of success or failure.
   *  @returns null when there are too many connections, or no free port */
  connect(ip: number, port: number, events: ConnectionEvents, localPort = 0): Connection | null {
    return this.tcp.connect(ip | 0, port, events, localPort);
  }

  /** Accepts connections. @throws RangeError when the port is taken */
  listen(port: number, accept: Accept, backlog = BACKLOG): Listener {
    return this.tcp.listen(port, backlog, accept);
  }

  /** @throws RangeError when the port is taken */
  bindUdp(port: number, handler: UdpHandler): UdpSocket {
    return this.udp.bind(port, handler);
  }

  /** Counts by name. */
  counts(): Record<string, number> {
    return Object.fromEntries(NET_COUNTERS.names.map((name, i) => [name, this.host.v[i]]));
  }

  /** What is held now: all 0 (neighbours apart) when no connection is left. */
  held(): Record<'connections' | 'timeWait' | 'timers' | 'bufferBytes' | 'neighbours' | 'datagrams', number> {
    const { table, memory } = this.tcp.context;
    return {
      connections: table.count,
      timeWait: table.timeWait.size,
      timers: this.host.timers.count,
      bufferBytes: memory.arena.used,
      neighbours: this.arp.entries,
      datagrams: this.ipIn.reassembly.waiting,
    };
  }

  private isForged(at: number): boolean {
    const { mem } = this.host;
    const src = mem.dv.getInt32(at + ETH_BYTES + IP_SRC);
    return this.arp.isForged(src, macHi(mem, at + ETH_SRC), macLo(mem, at + ETH_SRC));
  }

  private take(flags: number, gsoSize: number): void {
    const { host, packet } = this;
    const { v, mem, mac } = host;
    const at = packet.off[0];
    v[C.inPackets]++;
    v[C.inBytes] += packet.bytes;
    if (packet.len[0] < ETH_BYTES) {
      v[C.dropShort]++;
      return;
    }
    if (packet.bytes > host.set.mtu + ETH_BYTES && gsoSize === 0) {
      v[C.dropOversize]++;
      return;
    }
    const hi = macHi(mem, at + ETH_DST);
    const lo = macLo(mem, at + ETH_DST);
    if ((hi !== mac.hi || lo !== mac.lo) && (hi !== BROADCAST_HI || lo !== BROADCAST_LO)) {
      v[C.dropNotMine]++;
      return;
    }
    packet.flags = flags;
    packet.gsoSize = gsoSize;
    const type = etherType(mem, at);
    if (type === ETHERTYPE_IPV4) {
      packet.ip = at + ETH_BYTES;
      if (packet.len[0] >= ETH_BYTES + IP_BYTES && this.isForged(at)) {
        v[C.dropSpoofed]++;
        return;
      }
      const protocol = this.ipIn.input(packet);
      if (protocol === PROTO_TCP) {
        this.tcp.coalescer.input(packet);
      } else if (protocol === PROTO_UDP || protocol === PROTO_ICMP) {
        this.ipIn.flatten(packet);
        if (protocol === PROTO_UDP) this.udp.input(packet);
        else this.icmp.input(packet);
      } else if (protocol >= 0) {
        v[C.ipNoProtocol]++;
      }
    } else if (type === ETHERTYPE_ARP) {
      this.arp.input(at, packet.len[0]);
    } else {
      v[C.dropEtherType]++;
    }
  }
}
