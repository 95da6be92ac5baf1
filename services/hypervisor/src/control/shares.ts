/** What each domain shares with others, who may have a descriptor of it, and the tickets for these: docs/wire/control-plane.md
 *  section 2. There is no file: who is given no descriptor has no way to it. */
import { randomBytes } from 'node:crypto';
import { closeSync, constants, openSync, writeSync } from 'node:fs';
import { nowNs, DOMID_CONTROL, DOMID_DRIVER, DOMID_NIC, PAGE_SIZE, type DomId, type Port } from '@grantline/base';
import { DMA_TABLE_BYTES, EventSide, hypercallRingBytes, hypercallSlotsOf, type SharedKind } from '@grantline/xen';
import { COUNTER_FILE_BYTES, Fence, makePipe, pokeFd } from '@grantline/machine';
import type { MemoryPool, Piece } from './memory-pool.js';
import { OpError } from './op-schemas.js';

/** A domain's doorbell. */
interface Bell {
  reads: number;
  /** -1: it is gone. */
  writes: number;
}

interface Own {
  readonly memory: Piece;
  readonly counters: Piece;
  readonly hypercalls: Piece;
  readonly bell: Bell;
}

/** Makes a descriptor to be handed out; null when what it is of has gone meanwhile. */
type Opener = () => number | null;

const READ = constants.O_RDONLY;
const WRITE = constants.O_RDWR;
const RING = constants.O_WRONLY | constants.O_NONBLOCK;
const HEAR = constants.O_RDWR | constants.O_NONBLOCK;

/** A description of its own: flags that its holder changes, as O_NONBLOCK, are nobody else's. */
const anew = (fd: number, flags: number): number => openSync(`/proc/self/fd/${fd}`, flags);

export class Shares {
  readonly dmaTable: Piece;
  readonly dmaBurst: Piece;
  /** The hypervisor's own. */
  readonly counters: Piece;
  private readonly bell: Bell = makePipe();
  private readonly pool: MemoryPool;
  private readonly domains = new Map<DomId, Own>();
  private readonly pages = new Map<string, Piece>();
  /** Of the nic that there is. */
  private fence = new Fence();

  /** Makes what belongs to no domain. @throws MemoryError when memory is short */
  constructor(pool: MemoryPool) {
    this.pool = pool;
    this.dmaTable = pool.make('dma table', DMA_TABLE_BYTES, 'here');
    this.dmaBurst = pool.make('dma burst', PAGE_SIZE, 'both');
    this.counters = pool.make(`counters ${DOMID_CONTROL}`, COUNTER_FILE_BYTES, 'there');
  }

  /** Makes memory, counter file and doorbell, or nothing. @returns byte offset of the memory in the hypervisor's space
   *  @throws MemoryError when memory is short */
  makeDomain(domid: DomId, bytes: number): number {
    const { pool } = this;
    const memory = pool.make(`memory ${domid}`, bytes, 'both');
    const made = [memory];
    try {
      const counters = pool.make(`counters ${domid}`, COUNTER_FILE_BYTES, 'there');
      made.push(counters);
      const hypercalls = pool.make(`hypercalls ${domid}`, hypercallRingBytes(hypercallSlotsOf(domid)), 'both');
      made.push(hypercalls);
      this.domains.set(domid, { memory, counters, hypercalls, bell: makePipe() });
    } catch (error) {
      for (const piece of made) pool.release(piece);
      throw error;
    }
    return memory.at;
  }

  /** Byte offset of a domain's hypercall ring in the hypervisor's space. */
  hypercallsAt(domid: DomId): number {
    return this.domains.get(domid)!.hypercalls.at;
  }

  has(domid: DomId): boolean {
    return this.domains.has(domid);
  }

  /** Also when there is none of it. */
  removeDomain(domid: DomId): void {
    const own = this.domains.get(domid);
    if (own === undefined) return;
    this.domains.delete(domid);
    this.pool.release(own.memory);
    this.pool.release(own.counters);
    this.pool.release(own.hypercalls);
    closeSync(own.bell.reads);
    closeSync(own.bell.writes);
    own.bell.writes = -1;
  }

  /** The pair has its first channel: makes and maps its page. */
  openPage(a: DomId, b: DomId): void {
    this.pages.set(pairOf(a, b), this.pool.make(`events ${pairOf(a, b)}`, PAGE_SIZE, 'both'));
  }

  /** The pair has no channel, and one of the two is dead. */
  closePage(a: DomId, b: DomId): void {
    const page = this.pages.get(pairOf(a, b));
    if (page === undefined) return;
    this.pages.delete(pairOf(a, b));
    this.pool.release(page);
  }

  /** Clears the bits of a port of `owner` that is given out, or closed: a new port starts without the past of its number. */
  clearPort(owner: DomId, peer: DomId, port: Port): void {
    const side = this.side(owner, peer);
    side.clear(port);
    side.clearMask(port);
  }

  /** Makes a port of `owner` pending, and rings. */
  raise(owner: DomId, peer: DomId, port: Port): void {
    if (this.side(owner, peer).raise(port)) this.ring(owner);
  }

  /** As raise, where the peer before may have died between marking the port pending and ringing: then nobody else would
   *  ring for it, since it is pending already. */
  flush(owner: DomId, peer: DomId, port: Port): void {
    if (this.side(owner, peer).select(port)) this.ring(owner);
  }

  isPending(owner: DomId, peer: DomId, port: Port): boolean {
    return this.side(owner, peer).isPending(port);
  }

  private side(owner: DomId, peer: DomId): EventSide {
    return new EventSide(this.pool.space.mem, this.pages.get(pairOf(owner, peer))!.at, owner, peer);
  }

  /** Wakes a domain. */
  ring(domid: DomId): void {
    const bell = this.domains.get(domid)?.bell;
    if (bell !== undefined) pokeFd(bell.writes);
  }

  /** Back to "no transfer under way", for a new nic. */
  resetBurst(): void {
    writeSync(this.dmaBurst.fd, Buffer.alloc(PAGE_SIZE), 0, PAGE_SIZE, 0);
  }

  /** For a new nic; the last one's process has ended. */
  renewFence(): void {
    const next = new Fence();
    this.fence.close();
    this.fence = next;
  }

  /** Ends the nic's process, if it runs; not at once. */
  endNic(): void {
    this.fence.ring();
  }

  /** The process that had the nic's descriptors has ended: it writes nowhere any more. */
  get nicEnded(): boolean {
    return this.fence.gone;
  }

  /** What `caller` may have. @param domid whose, or with whom @param connected the two have a channel
   *  @throws OpError EPERM when it may not, ESRCH when there is none */
  openerFor(caller: DomId, of: SharedKind, domid: DomId, connected: () => boolean): Opener {
    if (!mayHave(caller, of, domid, connected)) throw new OpError('EPERM', `domain ${caller} may not have that`);
    if (of === 'dma-table') return opener(this.dmaTable, READ);
    if (of === 'dma-burst') return opener(this.dmaBurst, WRITE);
    if (of === 'fence') return () => this.fence.handOut();
    if (of === 'hypervisor') return () => anew(this.bell.writes, RING);
    if (of === 'page') return opener(this.pages.get(pairOf(caller, domid)), WRITE);
    const own = this.domains.get(domid);
    if (of === 'memory') return opener(own?.memory, WRITE);
    if (of === 'counters') return opener(own?.counters, WRITE);
    if (of === 'hypercalls') return opener(own?.hypercalls, WRITE);
    if (own === undefined) throw new OpError('ESRCH', `there is no domain ${domid}`);
    const { bell } = own;
    return () => (bell.writes < 0 ? null : anew(bell.writes, of === 'ringer' ? RING : HEAR));
  }

  /** For the hypervisor itself: its own doorbell. @returns a descriptor, to be closed by the caller */
  openBell(): number {
    return anew(this.bell.writes, HEAR);
  }

  /** For the hypervisor itself. @returns a descriptor, to be closed by the caller */
  openCounters(): number {
    return anew(this.counters.fd, WRITE);
  }

  /** For the operator: counters, to be read. @returns null when there is no such domain */
  counterOpener(domid: DomId): Opener | null {
    const counters = domid === DOMID_CONTROL ? this.counters : this.domains.get(domid)?.counters;
    return counters === undefined ? null : opener(counters, READ);
  }
}

/** The two, lower first. */
const pairOf = (a: DomId, b: DomId): string => (a < b ? `${a}-${b}` : `${b}-${a}`);

function mayHave(caller: DomId, of: SharedKind, domid: DomId, connected: () => boolean): boolean {
  switch (of) {
    case 'hypervisor':
      return true;
    case 'hypercalls':
    case 'counters':
    case 'doorbell':
      return domid === caller;
    case 'memory':
      return domid === caller || caller === DOMID_DRIVER || caller === DOMID_NIC;
    case 'page':
    case 'ringer':
      return domid !== caller && connected();
    case 'dma-table':
    case 'dma-burst':
    case 'fence':
      return caller === DOMID_NIC;
  }
}

function opener(piece: Piece | undefined, flags: number): Opener {
  if (piece === undefined) throw new OpError('ESRCH', 'there is no such thing');
  return () => (piece.fd < 0 ? null : anew(piece.fd, flags));
}

/** A holder uses a ticket within milliseconds; one that was stopped meanwhile asks for another. */
const LIFE_NS = 10e9;
/** Unused ones of one holder; the oldest makes room. */
const EACH_MAX = 64;

interface Ticket {
  readonly holder: DomId;
  readonly open: Opener;
  readonly untilNs: number;
}

/** Tickets for descriptors: each is good once, for what its holder had a right to, and for a short time. Whoever has one is
 *  taken for the holder, so they are asked for over the domain's own connection and used at once. */
export class Tickets {
  private readonly tickets = new Map<string, Ticket>();
  private readonly now: () => number;

  constructor(now = nowNs) {
    this.now = now;
  }

  /** @param holder 0: the operator @returns 128 random bits, as 32 hexadecimal digits */
  issue(holder: DomId, open: Opener): string {
    const own = [...this.tickets].filter(([, t]) => t.holder === holder);
    for (const [old, { untilNs }] of own) if (untilNs <= this.now()) this.tickets.delete(old);
    if (own.length >= EACH_MAX) this.tickets.delete(own[0][0]);
    const ticket = randomBytes(16).toString('hex');
    this.tickets.set(ticket, { holder, open, untilNs: this.now() + LIFE_NS });
    return ticket;
  }

  /** @returns a descriptor, to be closed by the caller; null: the ticket is not good, or not any more */
  use(ticket: string): number | null {
    const found = this.tickets.get(ticket);
    if (found === undefined) return null;
    this.tickets.delete(ticket);
    return found.untilNs > this.now() ? found.open() : null;
  }

  /** The holder is dead. */
  forget(holder: DomId): void {
    for (const [ticket, t] of this.tickets) if (t.holder === holder) this.tickets.delete(ticket);
  }
}
