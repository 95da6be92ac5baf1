/** What all parts of TCP share: the host, the table, the arena, and two lists: connections with something to send, and
 *  connections whose application has something to hear. Both are worked off in NetStack.flush, so that nothing an
 *  application does in a callback happens while a segment is being processed, and a batch of segments is answered
 *  once. */
import type { PrivateMemory } from '@grantline/machine';
import { Arena, ByteRing } from '../storage/byte-ring.js';
import type { Arp } from '../ip/arp.js';
import type { Host } from '../host.js';
import type { IpOut } from '../ip/ipv4.js';
import { FOR_ISN, FOR_TIMESTAMPS } from '../storage/keyed-hash.js';
import { Limiter } from '../ip/icmp.js';
import { SharedMemory } from '../storage/shared-memory.js';
import { Tcb, type TcpShared, EV_OPEN } from './tcb.js';
import { TcpTable } from './table.js';

/** Chooses initial sequence numbers; tests put their own in. */
export type IsnChoice = (localIp: number, localPort: number, remoteIp: number, remotePort: number) => number;

export class TcpContext implements TcpShared {
  readonly host: Host;
  readonly arp: Arp;
  readonly out: IpOut;
  readonly memory: SharedMemory;
  readonly table: TcpTable;
  readonly resets: Limiter;
  isn: IsnChoice;
  /** Set where the parts are put together (tcp.ts). */
  onTimer: (tcb: Tcb) => void = () => {};
  onAddress: (tcb: Tcb, known: boolean) => void = () => {};
  /** There is something to flush, and nobody may know yet. */
  onWork: () => void = () => {};
  /** Applications are about to be called back, or have been. */
  onEvents: (begin: boolean) => void = () => {};
  flushing = false;
  /** Cookies that were sent may come back until then. */
  cookiesUntilMs = 0;
  dirtyHead: Tcb | null = null;
  private dirtyTail: Tcb | null = null;
  private eventHead: Tcb | null = null;
  private eventTail: Tcb | null = null;

  constructor(host: Host, arp: Arp, out: IpOut, space: PrivateMemory) {
    this.host = host;
    this.arp = arp;
    this.out = out;
    this.table = new TcpTable(host);
    // As much as all connections may hold together: most of it is never touched.
    const arena = new Arena(space.mapPrivate(host.set.memory, false), host.set.memory);
    this.memory = new SharedMemory(host, this.table, arena);
    this.resets = new Limiter(host.hash, host.set.errorsPerSecond);
    // RFC 6528: a clock of 4 microseconds, moved by what only we know of the pair of sockets.
    this.isn = (localIp, localPort, remoteIp, remotePort) =>
      (Math.floor(host.nowUs / 4) + host.hash.of(localIp, remoteIp, (localPort << 16) | remotePort, FOR_ISN)) | 0;
  }

  create(localPort: number, remoteIp: number, remotePort: number): Tcb {
    const { host, table } = this;
    const { arena } = this.memory;
    const { mem, set, ip } = host;
    const hash = table.hashOf(ip, localPort, remoteIp, remotePort);
    const tx = new ByteRing(mem, arena, set.sendBuffer);
    const rx = new ByteRing(mem, arena, set.receiveBuffer);
    const tcb = new Tcb(this, ip, localPort, remoteIp, remotePort, hash, tx, rx);
    tcb.tsOffset = this.tsOffset(remoteIp);
    return tcb;
  }

  /** What our timestamps to a peer are moved by. Per pair of addresses, so that they go on evenly from one connection to
   *  the next (RFC 7323, 7.1; RFC 6191). */
  tsOffset(remoteIp: number): number {
    return this.host.hash.of(this.host.ip, remoteIp, 0, FOR_TIMESTAMPS);
  }

  /** Output is due. */
  markDirty(tcb: Tcb): void {
    if (tcb.dirty) return;
    tcb.dirty = true;
    tcb.dirtyNext = null;
    if (this.dirtyHead === null) this.dirtyHead = tcb;
    else this.dirtyTail!.dirtyNext = tcb;
    this.dirtyTail = tcb;
  }

  takeDirty(): Tcb | null {
    const tcb = this.dirtyHead;
    if (tcb === null) return null;
    this.dirtyHead = tcb.dirtyNext;
    if (this.dirtyHead === null) this.dirtyTail = null;
    tcb.dirtyNext = null;
    tcb.dirty = false;
    return tcb;
  }

  /** The application is to hear of something. @param bits EV_* */
  tell(tcb: Tcb, bits: number): void {
    // One that never opened has nobody to tell.
    if (tcb.events === null && ((tcb.eventBits | bits) & EV_OPEN) === 0) return;
    if (tcb.eventBits === 0) {
      tcb.eventNext = null;
      if (this.eventHead === null) this.eventHead = tcb;
      else this.eventTail!.eventNext = tcb;
      this.eventTail = tcb;
    }
    tcb.eventBits |= bits;
  }

  takeEvent(): Tcb | null {
    const tcb = this.eventHead;
    if (tcb === null) return null;
    this.eventHead = tcb.eventNext;
    if (this.eventHead === null) this.eventTail = null;
    tcb.eventNext = null;
    return tcb;
  }

  get idle(): boolean {
    return this.dirtyHead === null && this.eventHead === null;
  }

  /** The application did something that makes work. */
  kick(): void {
    if (!this.flushing) this.onWork();
  }

  /** Sets a deadline to be looked at. */
  wake(tcb: Tcb, atMs: number): void {
    this.host.timers.wake(tcb, atMs);
  }
}
