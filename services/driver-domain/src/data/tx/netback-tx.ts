/** The transmit side of a vif queue: takes packets from the guest's ring and passes them on, to a NIC queue or to another
 *  vif. docs/wire/transmit.md. Source: Linux drivers/net/xen-netback/netback.c.
 *
 *  The first 128 bytes of a packet are copied, so that what was judged is what is sent; the rest stays in the guest's pages,
 *  which the NIC reads: by a grant that stands, or by one that is mapped for this packet. A slot is answered when nothing
 *  uses its page any more. */
import {
  GRANT_ENTRIES,
  NETBACK_BATCH,
  NETIF_RSP_DROPPED,
  NETIF_RSP_OKAY,
  NICTX_MAX_CHAIN,
  type BackRing,
  notifyIf,
} from '@grantline/xen';
import type { DomId } from '@grantline/base';
import { type FrameProbe, NETBACK_TX_COUNTERS } from '@grantline/observe';
import { DRIVER_DOMAIN_CPU, slots } from '@grantline/machine';
import type { PoolUser } from '../grants/grant-pool.js';
import { VifPart, type QueueOptions } from '../vif-part.js';
import type { TxCredit } from './tx-policy.js';
import type { PacketGrants } from '../grants/packet-grants.js';
import type { TxSource } from './local-switch.js';
import { MAX_PENDING, TxPackets, FATAL, TxRequests } from './tx-requests.js';
import { TxPath, type TxPathOptions } from './tx-path.js';
import type { TxOwner } from './tx-port.js';

const C = slots(NETBACK_TX_COUNTERS);
const CPU = slots(DRIVER_DOMAIN_CPU);

export interface NetbackTxOptions extends TxPathOptions, QueueOptions {
  ring: BackRing;
  credit: TxCredit;
  /** Calls back after so many nanoseconds. */
  after: (ns: number, then: () => void) => void;
}

export class NetbackTx extends VifPart implements TxOwner, PoolUser, TxSource {
  held = 0;
  readonly grants: PacketGrants;
  readonly packets = new TxPackets();
  readonly domid: DomId;
  readonly headersPfn: number;
  readonly headersAt: number;
  private readonly o: NetbackTxOptions;
  private readonly requests: TxRequests;
  private readonly path: TxPath;
  private blocked = false;
  /** When the next look for credit is due, on the meter's clock; Infinity: none is. */
  private lookAtNs = Infinity;

  constructor(options: NetbackTxOptions) {
    super(options, C.ringFaults);
    this.o = options;
    this.domid = options.granter.domid;
    this.headersPfn = options.headersPfn;
    this.headersAt = options.headers;
    const { mem, ring, counters, loop } = options;
    this.requests = new TxRequests(mem, ring, this.packets, counters);
    const onReply = (): void => {
      if (this.stopped) this.grants.settle();
      else loop.schedule(this);
    };
    this.path = new TxPath(options, this.packets, this.requests, this, onReply);
    this.grants = this.path.grants;
  }

  poll(): number {
    if (this.stopped) return 0;
    const { ring, guest, counters, meter, port } = this.o;
    const { path } = this;
    this.blocked = false;
    let work = this.grants.settle();
    work += this.take();
    if (this.stopped) return work;
    work += path.unmapOver();
    if (path.posted) {
      path.posted = false;
      port.flush();
    }
    const v = counters.v;
    if (path.answered) {
      path.answered = false;
      work++;
      notifyIf(ring.push(), guest, v, C.notifications, C.suppressed);
    }
    if (work === 0) return 0;
    meter.lap(CPU.netback);
    this.grants.flush();
    counters.commit();
    return work;
  }

  arm(): boolean {
    return !this.stopped && this.o.ring.arm() && !this.blocked;
  }

  markInUse(marks: Uint8Array): void {
    const p = this.packets;
    for (let s = 0; s < MAX_PENDING; s++)
      if (p.live[s] === 1) for (let k = s; k >= 0; k = p.next[k]) if (p.gref[k] < GRANT_ENTRIES) marks[p.gref[k]] = 1;
  }

  sent(packet: number, status: number): void {
    if (status !== 0) this.o.counters.v[C.nicErrors]++;
    this.path.done(packet, status === 0 ? NETIF_RSP_OKAY : NETIF_RSP_DROPPED);
  }

  copied(packet: number, status: number): void {
    this.path.done(packet, status);
    if (!this.stopped) this.o.loop.schedule(this);
  }

  /** After stop, once nothing is in flight: what is still mapped. Each is handed out once. */
  takeMappings(each: (handle: number, dpn: number, at: number) => void): void {
    this.grants.takeMappings(each);
  }

  /** No more polls. What the NIC and the hypervisor still have of it comes back later. */
  stop(): void {
    if (this.stopped) return;
    this.stopped = this.path.stopped = true;
    this.o.port.waitNoMore(this);
    // Packets begun in the last poll go out as a whole or not at all.
    if (this.path.posted) this.o.port.flush();
    this.grants.flushAll();
    // Replies that came since the last poll: there is no next one, and nobody would look at them any more.
    this.grants.settle();
    this.o.counters.commit();
  }

  /** Where its packets are captured. */
  set probe(probe: FrameProbe) {
    this.path.probe.probe = probe;
  }

  describe(): Record<string, unknown> {
    const { ring, port } = this.o;
    const { stopped, grants, packets } = this;
    const taken = MAX_PENDING - packets.room;
    return { stopped, taken, callsInFlight: grants.inFlight, ring: ring.describe(), port: port.describe() };
  }

  private waitForCredit(): void {
    const { credit, meter, counters, loop, after } = this.o;
    // A rate that was raised has a nearer end of its window than the one that is waited for.
    if (credit.refillAtNs >= this.lookAtNs) return;
    this.lookAtNs = credit.refillAtNs;
    counters.v[C.creditWaits]++;
    after(credit.refillAtNs - meter.now, () => {
      this.lookAtNs = Infinity;
      loop.schedule(this);
    });
  }

  /** @returns packets taken */
  private take(): number {
    const { ring, port, credit, meter } = this.o;
    let available = ring.unconsumed();
    let n = 0;
    port.waitNoMore(this);
    while (available > 0 && n < NETBACK_BATCH) {
      if (port.roomFor(this) < NICTX_MAX_CHAIN) {
        port.waitFor(this);
        this.blocked = true;
        break;
      }
      if (!this.grants.canGrant(NICTX_MAX_CHAIN)) {
        this.blocked = true;
        break;
      }
      if (!credit.allows(this.requests.peekBytes(), meter.now)) {
        this.blocked = true;
        this.waitForCredit();
        break;
      }
      const packet = this.requests.take(available);
      if (packet === FATAL) {
        this.fault(this.requests.reason);
        return n;
      }
      n++;
      if (packet >= 0) {
        credit.charge(this.packets.total[packet]);
        this.path.begin(packet);
      } else this.path.answered = true;
      available = ring.unconsumed();
    }
    if (available < 0) this.fault('tx ring: req_prod is further ahead than the ring is long');
    return n;
  }
}
