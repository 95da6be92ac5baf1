/** A connection as an application has it: synchronous, without streams (net-socket.ts puts those on top).
 *
 *  Nothing calls back from within these methods; what happens is told by ConnectionEvents in NetStack.flush. */
import { seqDist } from './seq.js';
import {
  type ConnectionEvents,
  type Tcb,
  CLOSED,
  CLOSE_WAIT,
  ERR_ABORTED,
  ERR_NONE,
  ESTABLISHED,
  FIN_WAIT_1,
  FIN_WAIT_2,
  LAST_ACK,
  STATE_NAMES,
  SYN_RECEIVED,
  SYN_SENT,
  TIME_WAIT,
} from './tcb.js';
import { closeWith } from './control.js';
import { startKeepAlive, startLife, startMemoryRetry } from './timers.js';
import { windowUpdateDue } from './window.js';

export class Connection {
  private readonly tcb: Tcb;

  constructor(tcb: Tcb) {
    this.tcb = tcb;
  }

  /** Addresses, unsigned, and ports. */
  get localIp(): number {
    return this.tcb.localIp >>> 0;
  }
  get localPort(): number {
    return this.tcb.localPort;
  }
  get remoteIp(): number {
    return this.tcb.remoteIp >>> 0;
  }
  get remotePort(): number {
    return this.tcb.remotePort;
  }
  /** As RFC 9293 spells it. */
  get state(): string {
    return STATE_NAMES[this.tcb.state];
  }
  /** Bytes that can be read now. */
  get readable(): number {
    return this.tcb.rx.used;
  }
  /** The peer has sent its last byte. */
  get ended(): boolean {
    return this.tcb.rcvDone;
  }
  /** Bytes written that the peer has not acknowledged. */
  get unacknowledged(): number {
    return this.tcb.tx.used;
  }
  /** Bytes that congestion control allows to be under way, and that are. */
  get congestionWindow(): number {
    return this.tcb.cwnd;
  }
  get inFlight(): number {
    return seqDist(this.tcb.sndUna, this.tcb.sndNxt);
  }

  /** Says who is told from now on. */
  setEvents(events: ConnectionEvents): void {
    this.tcb.events = events;
  }

  /** Copies received bytes to an application's memory. @returns how many, 0 when there are none */
  read(target: Uint8Array, at = 0, most = target.length - at): number {
    const { tcb } = this;
    const bytes = tcb.rx.take(target, at, most);
    if (bytes > 0 || tcb.state === CLOSED) this.wasRead();
    return bytes;
  }

  /** Lends received bytes where they lie, for a reader that would only copy them on: they count as unread, so they hold the peer
   *  back, until `endLoan`, which may also come after the connection's end. One loan at a time; no `read` during it.
   *  @returns a view of up to `most` bytes; null when there are none */
  lend(most: number): Uint8Array | null {
    return this.tcb.rx.lend(most);
  }

  /** Nobody looks at the lent bytes any more: they have been read. */
  endLoan(): void {
    this.tcb.rx.endLoan();
    this.wasRead();
  }

  private wasRead(): void {
    const { tcb } = this;
    if (tcb.state === CLOSED) {
      tcb.rx.shrink();
    } else if (tcb.state >= ESTABLISHED && !tcb.rcvDone && windowUpdateDue(tcb)) {
      tcb.ackNow = true;
      tcb.tcp.markDirty(tcb);
      tcb.tcp.kick();
    }
  }

  /** Copies bytes into the send buffer. @returns how many had room; when not all, onWritable tells when to go on */
  write(source: Uint8Array, at = 0, end = source.length): number {
    const { tcb } = this;
    const { tcp, tx } = tcb;
    const open = tcb.state === ESTABLISHED || tcb.state === CLOSE_WAIT;
    if ((!open && tcb.state !== SYN_SENT && tcb.state !== SYN_RECEIVED) || tcb.finQueued) return 0;
    const wanted = end - at;
    const most = Math.min(wanted, tcp.host.set.sendBuffer - tx.used);
    const bytes = most > 0 ? tcp.memory.room(tx, tx.used, most) : 0;
    if (bytes < wanted) tcb.wantWrite = true;
    if (bytes === 0 && most > 0 && tx.used === 0) startMemoryRetry(tcb);
    if (bytes > 0) {
      tx.append(source, at, bytes);
      tcp.markDirty(tcb);
      tcp.kick();
    }
    return bytes;
  }

  /** No more will be written; reading goes on (half close). */
  shutdown(): void {
    const { tcb } = this;
    if (tcb.finQueued) return;
    if (tcb.state === ESTABLISHED) tcb.state = FIN_WAIT_1;
    else if (tcb.state === CLOSE_WAIT) tcb.state = LAST_ACK;
    else if (tcb.state !== SYN_SENT && tcb.state !== SYN_RECEIVED) return;
    tcb.finQueued = true;
    tcb.tcp.markDirty(tcb);
    tcb.tcp.kick();
  }

  /** The application lets go: no more events. What was written is still sent; what was not read, or comes later, is
   *  answered by a reset (RFC 2525, 2.17). */
  close(): void {
    const { tcb } = this;
    const unread = tcb.rx.used > 0;
    tcb.events = null;
    if (tcb.state === CLOSED || tcb.state === TIME_WAIT) {
      tcb.rx.release();
    } else if (tcb.state === SYN_SENT) {
      closeWith(tcb, ERR_NONE);
    } else if (unread) {
      this.abort();
    } else {
      this.shutdown();
      if (tcb.state === FIN_WAIT_2) startLife(tcb, tcb.tcp.host.set.finWait2Ms);
      tcb.rx.shrink();
    }
    tcb.tcp.kick();
  }

  /** Ends the connection by a reset; what was written and not acknowledged is lost. No more events. */
  abort(): void {
    const { tcb } = this;
    tcb.events = null;
    closeWith(tcb, ERR_ABORTED, true);
    tcb.rx.release();
    tcb.tcp.kick();
  }

  /** True: small writes are sent at once, not gathered while something is under way (Nagle). */
  setNoDelay(on: boolean): void {
    this.tcb.noDelay = on;
    if (on) {
      this.tcb.tcp.markDirty(this.tcb);
      this.tcb.tcp.kick();
    }
  }

  /** @param idleMs silence after which the peer is asked whether it is there; 0: as before */
  setKeepAlive(on: boolean, idleMs = 0): void {
    const { tcb } = this;
    tcb.keepAlive = on;
    if (idleMs > 0) tcb.keepIdleMs = idleMs;
    if (on && tcb.state >= ESTABLISHED && tcb.state !== TIME_WAIT) startKeepAlive(tcb);
    if (!on) tcb.keepMs = 0;
  }
}
