/** The way of a packet through netback after it was taken from the ring: header and pages at hand, judged, handed to a NIC
 *  queue or to the bridge, given back, answered. TxHeader judges the copied header, TxProbe shows packets to captures.
 *  docs/wire/transmit.md. */
import {
  NICTX_CSUM_TCP,
  NICTX_CSUM_UDP,
  NICTX_TSO,
  NETTXF_CSUM_BLANK,
  GRANT_ENTRIES,
  NETBACK_HEADER_BYTES,
  NETIF_RSP_DROPPED,
  NETIF_RSP_OKAY,
  NICTX_EOP,
  NICTX_MAX_CHAIN,
} from '@grantline/xen';
import * as frames from '@grantline/frames';
import { IP_PROTOCOL, PROTO_UDP, UDP_BYTES, TO_ALL } from '@grantline/frames';
import { slots, type Mem } from '@grantline/machine';
import {
  NETBACK_TX_DROP,
  NOT_DROPPED,
  OUTBOUND,
  NO_PROBE,
  NETBACK_TX_COUNTERS,
  type FrameProbe,
} from '@grantline/observe';
import { PAGE_SHIFT, PAGE_SIZE } from '@grantline/base';
import type { GrantPool } from '../grants/grant-pool.js';
import { MAX_PENDING, PacketFifo, type TxPackets, type TxRequests } from './tx-requests.js';
import { UPLINK } from '../bridge/bridge.js';
import { PacketGrants, type PacketGrantOptions, type PacketGrantSink } from '../grants/packet-grants.js';
import { NO_ROOM, TOO_LONG, type TxLocal, type TxSource } from './local-switch.js';
import { REFUSAL_COUNTERS, type TxPolicy } from './tx-policy.js';
import type { TxOwner, TxPort } from './tx-port.js';

// Local, so that the engine folds them into the code: see flow-templates.ts.
const { endOf, ipAt, l3Of, l4Of, tcpBehind } = frames;
const C = slots(NETBACK_TX_COUNTERS);

export interface TxPathOptions extends PacketGrantOptions {
  mem: Mem;
  /** Byte offset of HEADER_PAGES pages of our own, number of the first one, and their numbers for the NIC. */
  headers: number;
  headersPfn: number;
  headerDpns: Uint32Array;
  pool: GrantPool;
  /** The NIC queue that packets leave by, and whether it is the guest's own. */
  port: TxPort;
  ownPort: boolean;
  policy: TxPolicy;
  /** The vif's own port of the bridge. */
  ingress: number;
  local: TxLocal;
}

export class TxPath implements PacketGrantSink {
  stopped = false;
  /** Packets were posted, answers written, since somebody looked. */
  posted = false;
  answered = false;
  readonly probe: TxProbe;
  private readonly o: TxPathOptions;
  private readonly packets: TxPackets;
  private readonly requests: TxRequests;
  private readonly owner: TxOwner & TxSource;
  private readonly header: TxHeader;
  /** The two know each other: operations begin here, and their ends come here. */
  readonly grants: PacketGrants;
  /** Packets that are over and have mappings to be undone. */
  private readonly ended = new PacketFifo();
  /** Packets whose header and pages are being got hold of, in ring order, and whether they are there. */
  private readonly begun = new PacketFifo();
  private readonly ready = new Uint8Array(MAX_PENDING);

  constructor(
    options: TxPathOptions,
    packets: TxPackets,
    requests: TxRequests,
    owner: TxOwner & TxSource,
    onReply: () => void,
  ) {
    this.o = options;
    this.packets = packets;
    this.requests = requests;
    this.owner = owner;
    this.header = new TxHeader(options.mem);
    this.probe = new TxProbe(packets, options.pool, options.headers);
    this.grants = new PacketGrants(options, packets, this, onReply);
  }

  /** Packets go on in the order in which the guest sent them, whichever operations each of them needed. */
  granted(packet: number): void {
    this.ready[packet] = 1;
    while (this.begun.count > 0) {
      if (this.ready[this.begun.first] === 0) return;
      this.advance(this.begun.shift());
    }
  }

  unmapped(packet: number): void {
    this.answer(packet);
  }

  /** Copies the header, and gets hold of the rest. */
  begin(packet: number): void {
    const p = this.packets;
    const { pool, headers, headersPfn, mem, counters } = this.o;
    const v = counters.v;
    const head = p.total[packet] < NETBACK_HEADER_BYTES ? p.total[packet] : NETBACK_HEADER_BYTES;
    const base = packet * NETBACK_HEADER_BYTES;
    p.headBytes[packet] = head;
    p.waiting[packet] = 0;
    p.users[packet] = 0;
    let got = 0;
    let pieces = 1;
    for (let s = packet; s >= 0; s = p.next[s]) {
      const gref = p.gref[s];
      const at = gref < GRANT_ENTRIES ? pool.at[gref] : -1;
      const part = p.size[s] < head - got ? p.size[s] : head - got;
      if (part > 0) {
        const to = base + got;
        if (at >= 0) {
          const from = at + p.offset[s];
          mem.bulk.copy(headers + to, from, part);
          v[C.localCopies]++;
          v[C.localCopiedBytes] += part;
        } else this.grants.copy(s, p.offset[s], headersPfn + (to >> PAGE_SHIFT), to & (PAGE_SIZE - 1), part);
        got += part;
        p.offset[s] += part;
        p.size[s] -= part;
      }
      if (p.size[s] === 0) continue;
      pieces++;
      if (at >= 0) {
        p.dpn[s] = pool.dpn[gref]!;
        p.at[s] = at;
      } else this.grants.map(s);
    }
    p.pieces[packet] = pieces;
    this.o.port.promise(this.owner, pieces);
    this.ready[packet] = 0;
    this.begun.push(packet);
    if (p.waiting[packet] === 0) this.granted(packet);
  }

  private advance(packet: number): void {
    const p = this.packets;
    let failed = this.stopped ? C.dropDisabled : -1;
    for (let s = packet; s >= 0; s = p.next[s]) if (p.status[s] !== 0) failed = C.dropGrantError;
    if (failed < 0) return this.dispatch(packet);
    this.o.port.promise(this.owner, -p.pieces[packet]);
    // The slots that failed are answered with errors, the others of the packet are fine.
    this.drop(packet, failed, NETIF_RSP_OKAY);
  }

  private dispatch(packet: number): void {
    const p = this.packets;
    const { port, ownPort, policy, headers, meter, counters, local, ingress } = this.o;
    const v = counters.v;
    const at = headers + packet * NETBACK_HEADER_BYTES;
    const { header } = this;
    const mss = p.mss[packet];
    const fine = header.read(at, p.headBytes[packet], p.flags[packet], mss);
    const frames = mss > 0 && fine ? Math.max(1, Math.ceil((p.total[packet] - header.headerBytes) / mss)) : 1;
    const to = policy.judge(at, p.headBytes[packet], meter.now, frames);
    p.users[packet] = 1;
    if (fine && to === UPLINK) {
      v[ownPort ? C.toNic : C.toUplink]++;
      return this.post(packet);
    }
    if (fine && to === TO_ALL) return this.flood(packet);
    port.promise(this.owner, -p.pieces[packet]);
    if (to < TO_ALL) return this.drop(packet, REFUSAL_COUNTERS[-to], NETIF_RSP_DROPPED);
    if (!fine) return this.drop(packet, C.dropBadHeader, NETIF_RSP_DROPPED);
    const { headerBytes } = header;
    const { probe } = this;
    const bytes = p.total[packet];
    // Its pieces are named before: when `take` returns, it may be over.
    if (probe.on) probe.name(packet);
    const taken = local.take(this.owner, packet, to, ingress, headerBytes);
    if (taken > 0) {
      v[C.toVif]++;
      v[C.vifFrames] += taken;
      if (probe.on) probe.end(bytes);
      return;
    }
    const reason = taken === NO_ROOM ? C.dropNoRoom : taken === TOO_LONG ? C.dropTooLong : C.dropNoPort;
    this.drop(packet, reason, NETIF_RSP_DROPPED);
  }

  /** Out of the uplink, and to every other vif. */
  private flood(packet: number): void {
    const p = this.packets;
    const { local, counters, ingress } = this.o;
    const v = counters.v;
    v[C.flooded]++;
    v[C.floodUplink]++;
    p.users[packet] = 2;
    this.post(packet);
    const frames = local.take(this.owner, packet, TO_ALL, ingress, this.header.headerBytes);
    if (frames > 0) v[C.vifFrames] += frames;
    else p.users[packet] = 1;
  }

  /** One of those who were given the packet is done with it. */
  done(packet: number, status: number): void {
    if (--this.packets.users[packet] === 0) this.finish(packet, status);
  }

  /** Puts a packet onto the NIC queue: the copied header, then what lies in the guest's pages. */
  private post(packet: number): void {
    const p = this.packets;
    const { port, headerDpns } = this.o;
    if (this.probe.on) this.probe.passed(packet);
    const { flags, csumStart, headerBytes } = this.header;
    const at = packet * NETBACK_HEADER_BYTES;
    const last = p.pieces[packet] - 1;
    let n = 0;
    port.post(
      this.owner,
      last === 0 ? packet : -1,
      headerDpns[at >> PAGE_SHIFT],
      at & (PAGE_SIZE - 1),
      p.headBytes[packet],
      last === 0 ? flags | NICTX_EOP : flags,
      p.mss[packet],
      csumStart,
      headerBytes,
    );
    for (let s = packet; s >= 0; s = p.next[s]) {
      if (p.size[s] === 0) continue;
      const end = ++n === last;
      port.post(this.owner, end ? packet : -1, p.dpn[s], p.offset[s], p.size[s], end ? NICTX_EOP : 0, 0, 0, 0);
    }
    this.posted = true;
  }

  private drop(packet: number, reason: number, status: number): void {
    this.o.counters.v[reason]++;
    if (this.probe.on) this.probe.dropped(packet, !this.stopped, reason);
    this.packets.users[packet] = 0;
    this.finish(packet, status);
  }

  /** Nobody uses the packet any more but we: its mappings go, then it is answered. */
  finish(packet: number, status: number): void {
    const p = this.packets;
    p.result[packet] = status;
    if (p.mapped[packet] === 0) return this.answer(packet);
    this.ended.push(packet);
  }

  /** Undoes mappings of packets that are over, as far as there is room in the batches. @returns packets */
  unmapOver(): number {
    let n = 0;
    while (this.ended.count > 0 && this.grants.canUnmap(NICTX_MAX_CHAIN)) {
      this.grants.unmap(this.ended.shift());
      n++;
    }
    return n;
  }

  private answer(packet: number): void {
    this.answered = true;
    if (!this.stopped) this.requests.answerAll(packet, this.packets.result[packet]);
  }
}

/** Reads the copied header of a packet from a guest: what the NIC has to be told for checksum and segmentation. The copy is
 *  ours; its contents are the guest's. */
class TxHeader {
  /** For the packet's first descriptor: NICTX_*, where the TCP or UDP header begins, bytes of all headers. */
  flags = 0;
  csumStart = 0;
  headerBytes = 0;
  private readonly mem: Mem;

  constructor(mem: Mem) {
    this.mem = mem;
  }

  /** @param at byte offset of the header, @param bytes how much of the packet was copied
   *  @param netif NETTXF_* of the first slot @param mss of its extra info, 0: none
   *  @returns false when the packet asks for what its headers do not allow */
  read(at: number, bytes: number, netif: number, mss: number): boolean {
    this.flags = 0;
    this.csumStart = 0;
    this.headerBytes = 0;
    if (mss === 0 && (netif & NETTXF_CSUM_BLANK) === 0) return true;
    const { mem } = this;
    const ip = ipAt(mem, at, bytes);
    const l4 = l4Of(ip);
    if (ip >= 0 && mss === 0 && mem.u8[at + l3Of(ip) + IP_PROTOCOL] === PROTO_UDP && bytes >= l4 + UDP_BYTES) {
      this.csumStart = l4;
      this.flags = NICTX_CSUM_UDP;
      return true;
    }
    const tcp = tcpBehind(mem, at, bytes, ip);
    if (tcp < 0) return false;
    this.csumStart = l4;
    this.headerBytes = endOf(tcp);
    this.flags = mss > 0 ? NICTX_TSO | NICTX_CSUM_TCP : NICTX_CSUM_TCP;
    return true;
  }
}

/** Captures what netback takes from a guest: the copied header, and of the pages what can be read. docs/wire/capture.md. */
class TxProbe {
  /** Where to; replaced at connect. */
  probe: FrameProbe = NO_PROBE;
  private readonly packets: TxPackets;
  private readonly pool: GrantPool;
  private readonly headers: number;

  /** @param headers byte offset of the copied headers */
  constructor(packets: TxPackets, pool: GrantPool, headers: number) {
    this.packets = packets;
    this.pool = pool;
    this.headers = headers;
  }

  get on(): boolean {
    return this.probe.on;
  }

  /** A packet that goes on. */
  passed(packet: number): void {
    this.name(packet);
    this.end(this.packets.total[packet]);
  }

  /** @param readable false: the queue is stopped, and what it mapped may be gone
   *  @param reason slot of the counter in NETBACK_TX_COUNTERS */
  dropped(packet: number, readable: boolean, reason: number): void {
    if (readable) this.name(packet);
    else this.probe.begin();
    this.probe.end(this.packets.total[packet], OUTBOUND, NETBACK_TX_DROP + reason);
  }

  /** Names what of the packet is there to be read: the copied header, and pages whose mapping stands. `end` follows, or
   *  nothing when there is nothing to tell. */
  name(packet: number): void {
    const p = this.packets;
    const { probe, pool, headers } = this;
    probe.begin();
    if (p.status[packet] !== 0) return;
    probe.piece(headers + packet * NETBACK_HEADER_BYTES, p.headBytes[packet]);
    for (let s = packet; s >= 0; s = p.next[s]) {
      if (p.status[s] !== 0) return;
      if (p.size[s] === 0) continue;
      const gref = p.gref[s];
      const pooled = gref < GRANT_ENTRIES ? pool.at[gref] : -1;
      if (pooled < 0 && p.handle[s] < 0) return;
      probe.piece((pooled < 0 ? p.at[s] : pooled) + p.offset[s], p.size[s]);
    }
  }

  /** The packet that was named has gone on. @param bytes of it */
  end(bytes: number): void {
    this.probe.end(bytes, OUTBOUND, NOT_DROPPED);
  }
}
