/** Connections by address and port, and who listens. The hash is keyed: nobody can aim connections at one bucket. */
import type { Host } from '../host.js';
import { FOR_PORTS, FOR_TABLE } from '../storage/keyed-hash.js';
import type { ConnectionTable, Listener, Tcb } from './tcb.js';

const BUCKETS = 1 << 14;

export class TcpTable implements ConnectionTable {
  readonly listeners = new Map<number, Listener>();
  /** Connections in TIME-WAIT, the oldest first. */
  readonly timeWait = new Set<Tcb>();
  /** All in the table, and those of them that are in SYN-RECEIVED by a listener. */
  count = 0;
  halfOpen = 0;
  /** Connections of each peer, TIME-WAIT apart. */
  private readonly peers = new Map<number, number>();
  private readonly host: Host;
  private readonly buckets: (Tcb | null)[] = new Array<Tcb | null>(BUCKETS).fill(null);
  private nextPort: number;
  /** What was found last; in the table. */
  private found: Tcb | null = null;

  constructor(host: Host) {
    this.host = host;
    this.nextPort = host.hash.of(0, 0, 0, FOR_PORTS) >>> 16;
  }

  /** Connections, TIME-WAIT apart. */
  get active(): number {
    return this.count - this.timeWait.size;
  }

  hashOf(localIp: number, localPort: number, remoteIp: number, remotePort: number): number {
    return this.host.hash.of(localIp, remoteIp, (localPort << 16) | remotePort, FOR_TABLE);
  }

  find(localIp: number, localPort: number, remoteIp: number, remotePort: number): Tcb | null {
    // Segments of one connection come one behind the other: mostly it is the last one, and no hash is made.
    const { found } = this;
    if (found !== null && isPair(found, localIp, localPort, remoteIp, remotePort)) return found;
    let t = this.buckets[this.hashOf(localIp, localPort, remoteIp, remotePort) & (BUCKETS - 1)];
    while (t !== null && !isPair(t, localIp, localPort, remoteIp, remotePort)) t = t.hashNext;
    if (t !== null) this.found = t;
    return t;
  }

  insert(tcb: Tcb): void {
    const bucket = tcb.hash & (BUCKETS - 1);
    tcb.hashNext = this.buckets[bucket];
    this.buckets[bucket] = tcb;
    tcb.inTable = true;
    this.count++;
    this.peers.set(tcb.remoteIp, (this.peers.get(tcb.remoteIp) ?? 0) + 1);
  }

  remove(tcb: Tcb): void {
    if (!tcb.inTable) return;
    tcb.inTable = false;
    if (this.found === tcb) this.found = null;
    this.count--;
    if (!this.timeWait.delete(tcb)) this.leaves(tcb);
    const bucket = tcb.hash & (BUCKETS - 1);
    let t = this.buckets[bucket];
    if (t === tcb) {
      this.buckets[bucket] = tcb.hashNext;
    } else {
      while (t!.hashNext !== tcb) t = t!.hashNext;
      t!.hashNext = tcb.hashNext;
    }
    tcb.hashNext = null;
  }

  /** Is there room for one more in SYN-RECEIVED? A quarter of the table at most, so that a flood leaves the rest to those
   *  that have shown that they are there. */
  hasRoomHalfOpen(listener: Listener): boolean {
    const most = this.host.set.maxConnections;
    return listener.halfOpen.size < listener.backlog && this.halfOpen < Math.max(1, most >> 2) && this.active < most;
  }

  /** Has a peer its part of the table? That is twice what is free, so that one alone has two thirds of it at most, and those
   *  who come then find the rest. */
  isFull(remoteIp: number): boolean {
    const free = this.host.set.maxConnections - this.active;
    return this.active >= 2 * free && (this.peers.get(remoteIp) ?? 0) >= 2 * free;
  }

  /** A connection goes on in TIME-WAIT, which has a bound of its own. */
  rests(tcb: Tcb): void {
    this.timeWait.add(tcb);
    this.leaves(tcb);
  }

  private leaves(tcb: Tcb): void {
    const left = this.peers.get(tcb.remoteIp)! - 1;
    if (left === 0) this.peers.delete(tcb.remoteIp);
    else this.peers.set(tcb.remoteIp, left);
  }

  insertHalfOpen(tcb: Tcb, listener: Listener): void {
    listener.halfOpen.add(tcb);
    this.halfOpen++;
    this.insert(tcb);
  }

  noLongerHalfOpen(tcb: Tcb): void {
    if (tcb.listener !== null && tcb.listener.halfOpen.delete(tcb)) this.halfOpen--;
  }

  /** All connections, for sweeps. */
  forEach(visit: (tcb: Tcb) => void): void {
    for (const head of this.buckets)
      for (let t = head; t !== null;) {
        const next: Tcb | null = t.hashNext;
        visit(t);
        t = next;
      }
  }

  /** A port for a connection from here, that no connection to the same peer has (RFC 6056, algorithm 3).
   *  @returns 0 when all are taken */
  ephemeralPort(remoteIp: number, remotePort: number): number {
    const { host } = this;
    const { ephemeralFirst, ephemeralLast } = host.set;
    const range = ephemeralLast - ephemeralFirst + 1;
    const offset = host.hash.of(host.ip, remoteIp, remotePort, FOR_PORTS) >>> 0;
    for (let i = 0; i < range; i++) {
      const port = ephemeralFirst + ((offset + this.nextPort++) % range);
      if (!this.listeners.has(port) && this.find(host.ip, port, remoteIp, remotePort) === null) return port;
    }
    return 0;
  }
}

const isPair = (t: Tcb, localIp: number, localPort: number, remoteIp: number, remotePort: number): boolean =>
  t.remotePort === remotePort && t.localPort === localPort && t.remoteIp === remoteIp && t.localIp === localIp;
