/** The memory that all connections of a stack share, and what each may have of it.
 *
 *  A ring may grow to the arena's `share`: all while all is free, an eighth of what is free while half is, and so on down to
 *  the smallest block (dynamic thresholds: Choudhury and Hahne, 1998, for packet buffers). So a connection that comes late finds something,
 *  however many have taken theirs before. What rings have beyond their need is taken back when somebody is refused.
 *
 *  While less than an eighth is left, connections are watched: one that holds data which its peer has not taken, and whose
 *  peer takes less than a floor in five seconds, is reset; data beyond a gap that stays open that long is forgotten, and
 *  comes again. While there is enough nobody is watched: a slow reader may be as slow as it likes. */
import type { Arena, ByteRing } from './byte-ring.js';
import { C, type Host } from '../host.js';
import { type Tcb, ERR_TIMEDOUT, ESTABLISHED, TIME_WAIT } from '../tcp/tcb.js';
import { closeWith } from '../tcp/control.js';
import type { TcpTable } from '../tcp/table.js';
import { Timed } from './timer-heap.js';

/** How often what nobody needs is taken back, while somebody is refused: with little left, and else. */
const SWEEP_LOW_MS = 10;
const SWEEP_MS = 100;
/** How often connections are looked at, and how long one may stand still; less when next to nothing is left. */
const LOOK_MS = 1000;
const PATIENCE_MS = 5000;
const LAST_PATIENCE_MS = 1000;
/** A peer must take this in that time: a part of what the connection holds, and not less than a few bytes. */
const FLOOR_SHIFT = 7;
const FLOOR_BYTES = 256;

export class SharedMemory extends Timed {
  readonly arena: Arena;
  private readonly host: Host;
  private readonly table: TcpTable;
  private sweptMs = -1e9;
  private watching = false;

  constructor(host: Host, table: TcpTable, arena: Arena) {
    super();
    this.host = host;
    this.table = table;
    this.arena = arena;
  }

  /** Makes room in a ring behind its first bytes, as far as its part of the memory goes. @returns for how many bytes */
  room(ring: ByteRing, from: number, more: number): number {
    const bytes = from + more;
    if (bytes <= ring.capacity) return more;
    const { arena } = this;
    if (arena.isLow) this.watch();
    if (bytes <= arena.share && ring.ensure(bytes)) return more;
    this.sweep();
    if (bytes <= arena.share && ring.ensure(bytes)) return more;
    for (let part = Math.min(arena.share, ring.limit); part > ring.capacity; part >>= 1) if (ring.ensure(part)) break;
    return Math.max(0, Math.min(more, ring.capacity - from));
  }

  /** Looks at all connections, and again as long as memory is short. */
  override expire(): void {
    const { arena, host } = this;
    this.watching = arena.isLow;
    if (!this.watching) return;
    const patience = arena.bytes - arena.used < arena.bytes >> 6 ? LAST_PATIENCE_MS : PATIENCE_MS;
    this.table.forEach((tcb) => judge(tcb, patience));
    host.timers.wake(this, host.now + LOOK_MS);
  }

  private sweep(): void {
    const { now } = this.host;
    if (now - this.sweptMs < (this.arena.isLow ? SWEEP_LOW_MS : SWEEP_MS)) return;
    this.sweptMs = now;
    this.table.forEach((tcb) => {
      tcb.tx.shrink();
      tcb.rx.shrink();
    });
  }

  private watch(): void {
    if (this.watching) return;
    this.watching = true;
    this.table.forEach((tcb) => mark(tcb));
    this.host.timers.wake(this, this.host.now + LOOK_MS);
  }
}

function mark(tcb: Tcb): void {
  const holds = tcb.tx.used > 0 || (tcb.gaps !== null && tcb.gaps.count > 0);
  tcb.watchedMs = holds ? tcb.tcp.host.now : 0;
  tcb.watchedUna = tcb.sndUna;
  tcb.watchedNxt = tcb.rcvNxt;
  tcb.watchedBytes = tcb.tx.used;
}

function judge(tcb: Tcb, patienceMs: number): void {
  if (tcb.state < ESTABLISHED || tcb.state === TIME_WAIT) return;
  const { host } = tcb.tcp;
  if (tcb.watchedMs !== 0 && host.now - tcb.watchedMs < patienceMs) return;
  if (tcb.watchedMs !== 0) {
    const taken = (tcb.sndUna - tcb.watchedUna) | 0;
    // Who has taken all that lay there then does not stand still, however little it was.
    const floor = Math.min(tcb.watchedBytes, Math.max(FLOOR_BYTES, tcb.tx.capacity >> FLOOR_SHIFT));
    if (tcb.tx.used > 0 && taken < floor) {
      host.v[C.tcpStalled]++;
      closeWith(tcb, ERR_TIMEDOUT, true);
      return;
    }
    if (tcb.gaps !== null && tcb.gaps.count > 0 && tcb.rcvNxt === tcb.watchedNxt) {
      host.v[C.tcpPruned]++;
      tcb.gaps.clear();
      tcb.rx.cut();
      tcb.rx.shrink();
    }
  }
  mark(tcb);
}
