/** Fragments of IPv4 datagrams put together again. Source: RFC 791, 3.2; RFC 815 for the idea of holes; RFC 5722 for
 *  overlaps: a datagram with any is given up, since nobody honest makes them.
 *
 *  Bounded: eight datagrams of 64 KiB at a time, each for `reassemblyMs`. Room is made by the one begun first of the sender
 *  that has the most of them, so that nobody's half datagrams push out those of others who have fewer. */
import type { PrivateMemory } from '@grantline/machine';
import { C, type Host } from '../host.js';
import { Ranges } from '../tcp/seq.js';
import { Timed } from '../storage/timer-heap.js';

const DATAGRAMS = 8;
const MAX_BYTES = 65535 - 20;

class Datagram extends Timed {
  readonly at: number;
  active = false;
  src = 0;
  dst = 0;
  /** Identification and protocol. */
  key = 0;
  /** Length, once the last fragment has come. */
  total = -1;
  order = 0;
  readonly have = new Ranges();
  private readonly owner: Reassembly;

  constructor(owner: Reassembly, at: number) {
    super();
    this.owner = owner;
    this.at = at;
  }

  override expire(): void {
    this.owner.timeout(this);
  }
}

export class Reassembly {
  /** The datagram that `add` completed: byte offset and length. */
  at = 0;
  bytes = 0;
  private readonly host: Host;
  private readonly slots: Datagram[] = [];
  private count = 0;

  constructor(host: Host, space: PrivateMemory) {
    this.host = host;
    const base = space.mapPrivate(DATAGRAMS << 16);
    for (let i = 0; i < DATAGRAMS; i++) this.slots.push(new Datagram(this, base + (i << 16)));
  }

  /** Datagrams that wait for fragments. */
  get waiting(): number {
    return this.slots.filter((d) => d.active).length;
  }

  /** Takes a fragment. @param key identification and protocol @param flags the header's word of flags and offset
   *  @param from @param bytes where its payload lies
   *  @returns true when the datagram is complete; it stands at `at` until the next call */
  add(src: number, dst: number, key: number, flags: number, from: number, bytes: number): boolean {
    const { host } = this;
    const more = (flags & 0x2000) !== 0;
    const offset = (flags & 0x1fff) << 3;
    const end = offset + bytes;
    host.v[C.ipFragmentsIn]++;
    if (bytes === 0 || end > MAX_BYTES || (more && (bytes & 7) !== 0)) {
      host.v[C.ipReassemblyBad]++;
      return false;
    }
    const d = this.slots.find((s) => s.active && s.key === key && s.src === src && s.dst === dst) ?? this.begin();
    d.src = src;
    d.dst = dst;
    d.key = key;
    const last = d.have.count === 0 ? 0 : d.have.to[d.have.count - 1];
    const contradicts = more ? d.total >= 0 && end > d.total : (d.total >= 0 && d.total !== end) || last > end;
    if (contradicts || d.have.bytesBetween(offset, end) > 0) {
      // The same fragment once more is no attack.
      const i = d.have.find(offset);
      if (!contradicts && i >= 0 && d.have.to[i] >= end && this.isSame(d.at + offset, from, bytes)) return false;
      host.v[C.ipReassemblyOverlap]++;
      this.end(d);
      return false;
    }
    if (d.have.add(offset, end) < 0) {
      host.v[C.ipReassemblyBad]++;
      this.end(d);
      return false;
    }
    host.mem.u8.copyWithin(d.at + offset, from, from + bytes);
    if (!more) d.total = end;
    if (d.total < 0 || d.have.count !== 1 || d.have.from[0] !== 0 || d.have.to[0] !== d.total) return false;
    this.at = d.at;
    this.bytes = d.total;
    this.end(d);
    host.v[C.ipReassembled]++;
    return true;
  }

  timeout(d: Datagram): void {
    this.host.v[C.ipReassemblyTimeout]++;
    this.end(d);
  }

  private begin(): Datagram {
    let d = this.slots.find((s) => !s.active);
    if (d === undefined) {
      d = this.slots.reduce((a, b) => this.firstToGo(a, b));
      this.host.v[C.ipReassemblyEvicted]++;
      this.end(d);
    }
    d.active = true;
    d.total = -1;
    d.order = ++this.count;
    d.have.clear();
    this.host.timers.wake(d, this.host.now + this.host.set.reassemblyMs);
    return d;
  }

  private firstToGo(a: Datagram, b: Datagram): Datagram {
    const more = this.countOf(a.src) - this.countOf(b.src);
    return more > 0 || (more === 0 && a.order < b.order) ? a : b;
  }

  private countOf(src: number): number {
    let count = 0;
    for (const d of this.slots) if (d.active && d.src === src) count++;
    return count;
  }

  private end(d: Datagram): void {
    d.active = false;
    this.host.timers.remove(d);
  }

  private isSame(a: number, b: number, bytes: number): boolean {
    const u8 = this.host.mem.u8;
    for (let i = 0; i < bytes; i++) if (u8[a + i] !== u8[b + i]) return false;
    return true;
  }
}
