/** The injector on one direction of the cable: seeded loss, duplication, corruption, reordering and delay, at most one of
 *  them for a frame, each counted. Off, there is none of it. docs/latency.md.
 *
 *  A decision is drawn when a frame is carried on, not when it is looked at: one that finds no buffer and is offered
 *  again meets the same fate. What is held is bounded; a fault that finds no room is left out and counted as `full`. */
import { Rng, type FaultSettings } from '@grantline/base';
import { slots, type Mem, type PrivateMemory, type CounterBlock } from '@grantline/machine';
import { FAULTS_COUNTERS } from '@grantline/observe';
import {
  ETHERTYPE_IPV4,
  ETH_BYTES,
  ETH_TYPE,
  IP_BYTES,
  IP_DST,
  IP_LENGTH,
  IP_PROTOCOL,
  IP_SRC,
  PROTO_TCP,
  TCP_OFFSET,
  UDP_BYTES,
} from '@grantline/frames';
import { HOLD_BYTES } from './generator.js';

/** What may become of a frame. */
export const PASS = 0;
const LOSE = 1;
const DUPLICATE = 2;
const CORRUPT = 3;
const REORDER = 4;
const DELAY = 5;

/** Small seeds give small numbers at first. */
const WARM_UP = 16;

/** Decides, frame by frame, what becomes of each: from the seed alone, so that the nth frame meets the same fate in each
 *  run. Looking does not draw: who could not carry a decision out may come again and finds the same one. Pure. */
export class FaultDice {
  /** What becomes of the frame at hand. */
  verdict = PASS;
  /** Where it is hit, if it is: a random u32. */
  place = 0;
  private readonly rng: Rng;
  /** Upper ends of the verdicts' shares of the u32 range, in their order. */
  private readonly ends: Float64Array;

  constructor(s: FaultSettings) {
    this.rng = new Rng(s.seed);
    for (let i = 0; i < WARM_UP; i++) this.rng.u32();
    let end = 0;
    this.ends = Float64Array.from(
      [s.loss, s.duplicate, s.corrupt, s.reorder, s.delay],
      (p) => (end += p) * (2 ** 32 - 1),
    );
    this.next();
  }

  /** The frame at hand is dealt with: decides on the next. */
  next(): void {
    const x = this.rng.u32();
    this.place = this.rng.u32();
    const { ends } = this;
    let verdict = PASS;
    // The generator gives 1 to 2^32 - 1.
    for (let i = 0; i < ends.length; i++) {
      if (x > ends[i]) continue;
      verdict = i + 1;
      break;
    }
    this.verdict = verdict;
  }
}

/** Frames at most. */
export const HELD_FRAMES = 256;

/** Frames that the injector keeps: a bounded number of copies in private memory, in the order in which they came. */
class HeldFrames {
  /** Slots in use, oldest first. */
  readonly list = new Int32Array(HELD_FRAMES);
  count = 0;
  /** By slot: bytes, when it is to go on, its flow, and whether it waits to be overtaken. */
  readonly bytes = new Int32Array(HELD_FRAMES);
  readonly dueNs = new Float64Array(HELD_FRAMES);
  readonly flow = new Int32Array(HELD_FRAMES);
  readonly waits = new Uint8Array(HELD_FRAMES);
  /** By slot: it was to go on and found no buffer. */
  readonly refused = new Uint8Array(HELD_FRAMES);
  refusedCount = 0;
  private readonly mem: Mem;
  private readonly base: number;
  private readonly free = Int32Array.from({ length: HELD_FRAMES }, (_, i) => i);
  private freeCount = HELD_FRAMES;

  constructor(space: PrivateMemory) {
    this.mem = space.mem;
    this.base = space.mapPrivate(HELD_FRAMES * HOLD_BYTES);
  }

  /** Byte offset of a slot. */
  at(slot: number): number {
    return this.base + slot * HOLD_BYTES;
  }

  /** Copies a frame, of one piece or two. @returns its slot, in no list yet; -1 when all are in use */
  copy(head: number, headBytes: number, body: number, bodyBytes: number): number {
    if (this.freeCount === 0) return -1;
    const slot = this.free[--this.freeCount];
    const at = this.at(slot);
    this.mem.u8.copyWithin(at, head, head + headBytes);
    if (bodyBytes > 0) this.mem.u8.copyWithin(at + headBytes, body, body + bodyBytes);
    this.bytes[slot] = headBytes + bodyBytes;
    return slot;
  }

  /** Puts a slot at the end of the list. */
  hold(slot: number, flow: number, dueNs: number, waits: boolean): void {
    this.list[this.count++] = slot;
    this.flow[slot] = flow;
    this.dueNs[slot] = dueNs;
    this.waits[slot] = waits ? 1 : 0;
  }

  /** A slot's frame found no buffer, and looks again then. */
  refuse(slot: number, dueNs: number): void {
    if (this.refused[slot] === 0) this.refusedCount++;
    this.refused[slot] = 1;
    this.dueNs[slot] = dueNs;
  }

  /** Takes the i-th out of the list; its slot stays in use. */
  drop(i: number): void {
    const slot = this.list[i];
    this.refusedCount -= this.refused[slot];
    this.refused[slot] = 0;
    this.list.copyWithin(i, i + 1, this.count);
    this.count--;
  }

  give(slot: number): void {
    this.free[this.freeCount++] = slot;
  }

  /** When the first is due; Infinity when none is held. */
  firstDueNs(): number {
    let due = Infinity;
    for (let i = 0; i < this.count; i++) due = Math.min(due, this.dueNs[this.list[i]]);
    return due;
  }
}

export const F = slots(FAULTS_COUNTERS);
/** A frame that nothing of its flow overtakes goes on after so long, in its place. */
export const OVERTAKE_NS = 10e6;
/** What found no buffer is tried again after so long, if nothing comes by before. */
const AGAIN_NS = 100e3;
const NO_FAULTS: FaultSettings = { seed: 1, loss: 0, duplicate: 0, corrupt: 0, reorder: 0, delay: 0, delayUs: 1 };

/** Where frames go on to. Status below 0: not taken, to be offered again; nothing was counted. */
type Carry = (head: number, headBytes: number, body: number, bodyBytes: number) => number;
/** Frames that `Carry` did not take. */
export const NOT_TAKEN = -1;

interface FaultOptions {
  space: PrivateMemory;
  /** Named as FAULTS_COUNTERS. */
  counters: CounterBlock;
  carry: Carry;
  /** True: what was carried on is looked at later; its memory stays until `settled`. */
  lends: boolean;
}

export class Faults {
  readonly counters: CounterBlock;
  readonly held: HeldFrames;
  private readonly carry: Carry;
  private readonly mem: Mem;
  private readonly lends: boolean;
  private dice = new FaultDice(NO_FAULTS);
  private delayNs = 0;
  private readonly lent: number[] = [];

  constructor(options: FaultOptions) {
    this.counters = options.counters;
    this.carry = options.carry;
    this.mem = options.space.mem;
    this.lends = options.lends;
    this.held = new HeldFrames(options.space);
  }

  /** From the next frame on; null: no faults, and what is held goes on as soon as it can. */
  set(settings: FaultSettings | null): void {
    this.dice = new FaultDice(settings ?? NO_FAULTS);
    this.delayNs = (settings ?? NO_FAULTS).delayUs * 1000;
    if (settings === null) this.held.dueNs.fill(0);
  }

  /** A frame comes by. @returns what `carry` said; 0 when the frame was lost or is held; NOT_TAKEN: offer it again */
  offer(head: number, headBytes: number, body: number, bodyBytes: number, nowNs: number): number {
    // What found no buffer comes before what is behind it: else that would take each one that comes back. Not where frames are looked at
    // later: room that was shown is for those that come, and what is held has its turn when all of them have (FaultyFarEnd).
    if (this.held.refusedCount > 0 && !this.lends) this.release(nowNs);
    const { verdict } = this.dice;
    if (verdict === PASS) return this.pass(head, headBytes, body, bodyBytes, nowNs);
    const v = this.counters.v;
    if (verdict === LOSE) {
      v[F.lost]++;
      return this.done(0);
    }
    const slot = this.held.copy(head, headBytes, body, bodyBytes);
    if (slot < 0) {
      const status = this.pass(head, headBytes, body, bodyBytes, nowNs);
      if (status !== NOT_TAKEN) v[F.full]++;
      return status;
    }
    if (verdict === CORRUPT) return this.corrupt(slot);
    const flow = this.flowAt(slot);
    if (verdict === DUPLICATE) return this.duplicate(slot, flow, head, headBytes, body, bodyBytes, nowNs);
    if (verdict === DELAY) v[F.delayed]++;
    const waits = verdict === REORDER;
    this.held.hold(slot, flow, nowNs + (waits ? OVERTAKE_NS : this.delayNs), waits);
    return this.done(0);
  }

  /** Carries on what is due, or was and found no buffer. @returns how many frames that was */
  release(nowNs: number): number {
    const { held } = this;
    const v = this.counters.v;
    let n = 0;
    for (let i = 0; i < held.count;) {
      const slot = held.list[i];
      if (held.dueNs[slot] > nowNs && held.refused[slot] === 0) {
        i++;
        continue;
      }
      const waits = held.waits[slot] === 1;
      if (!this.resume(i, nowNs)) {
        i++;
        continue;
      }
      if (waits) v[F.undone]++;
      n++;
    }
    return n;
  }

  /** What was carried on has been looked at. */
  settled(): void {
    for (const slot of this.lent) this.held.give(slot);
    this.lent.length = 0;
  }

  commit(): void {
    this.counters.v[F.held] = this.held.count;
    this.counters.commit();
  }

  private done(status: number): number {
    this.counters.v[F.frames]++;
    this.dice.next();
    return status;
  }

  private pass(head: number, headBytes: number, body: number, bodyBytes: number, nowNs: number): number {
    const status = this.carry(head, headBytes, body, bodyBytes);
    if (status === NOT_TAKEN) return NOT_TAKEN;
    if (this.held.count > 0) this.overtaken(flowOf(this.mem, head, headBytes), nowNs);
    return this.done(status);
  }

  private corrupt(slot: number): number {
    const { held, mem } = this;
    const at = held.at(slot);
    const bytes = held.bytes[slot];
    const isIp = mem.dv.getUint16(at + ETH_TYPE) === ETHERTYPE_IPV4;
    // Padding is nobody's.
    const end = isIp ? Math.min(bytes, ETH_BYTES + mem.dv.getUint16(at + ETH_BYTES + IP_LENGTH)) : bytes;
    const bit = this.dice.place % (Math.max(1, end - ETH_BYTES) * 8);
    const inHeader = isIp && isInHeader(mem, at, bit >> 3);
    mem.u8[at + ETH_BYTES + (bit >> 3)] ^= 1 << (bit & 7);
    const status = this.carry(at, bytes, 0, 0);
    if (status === NOT_TAKEN || !this.lends) held.give(slot);
    else this.lent.push(slot);
    if (status === NOT_TAKEN) return NOT_TAKEN;
    this.counters.v[F.corrupted]++;
    if (inHeader) this.counters.v[F.headersHit]++;
    return this.done(status);
  }

  private duplicate(slot: number, flow: number, h: number, hb: number, b: number, bb: number, nowNs: number): number {
    const status = this.carry(h, hb, b, bb);
    if (status === NOT_TAKEN) {
      this.held.give(slot);
      return NOT_TAKEN;
    }
    this.counters.v[F.duplicated]++;
    this.held.hold(slot, flow, nowNs, false);
    this.resume(this.held.count - 1, nowNs);
    this.overtaken(flow, nowNs);
    return this.done(status);
  }

  /** A frame of a flow has gone by: those of it that waited for that follow. */
  private overtaken(flow: number, nowNs: number): void {
    const { held } = this;
    for (let i = 0; i < held.count;) {
      const slot = held.list[i];
      if (held.waits[slot] === 0 || held.flow[slot] !== flow) {
        i++;
        continue;
      }
      this.counters.v[F.reordered]++;
      held.waits[slot] = 0;
      if (!this.resume(i, nowNs)) i++;
    }
  }

  /** @returns true when the i-th of the list went on and is in the list no more */
  private resume(i: number, nowNs: number): boolean {
    const { held } = this;
    const slot = held.list[i];
    if (this.carry(held.at(slot), held.bytes[slot], 0, 0) === NOT_TAKEN) {
      held.refuse(slot, nowNs + AGAIN_NS);
      return false;
    }
    held.drop(i);
    if (this.lends) this.lent.push(slot);
    else held.give(slot);
    return true;
  }

  private flowAt(slot: number): number {
    return flowOf(this.mem, this.held.at(slot), this.held.bytes[slot]);
  }
}

/** @param at the frame's offset @param byte counted from the end of the Ethernet header
 *  @returns true when that is in the TCP or UDP header */
function isInHeader(mem: Mem, at: number, byte: number): boolean {
  const ip = at + ETH_BYTES;
  const ihl = (mem.u8[ip] & 15) << 2;
  const bytes = mem.u8[ip + IP_PROTOCOL] === PROTO_TCP ? (mem.u8[ip + ihl + TCP_OFFSET] >>> 4) << 2 : UDP_BYTES;
  return byte >= ihl && byte < ihl + bytes;
}

/** Tells flows apart: a mix of addresses, protocol and ports; of what is not IPv4, of the Ethernet addresses. */
function flowOf(mem: Mem, at: number, bytes: number): number {
  const { dv, u8 } = mem;
  let h = dv.getInt32(at + 2) ^ Math.imul(dv.getInt32(at + 8), 0x9e3779b1);
  if (bytes < ETH_BYTES + 24 || dv.getUint16(at + ETH_TYPE) !== ETHERTYPE_IPV4) return h;
  const ip = at + ETH_BYTES;
  h = Math.imul(h ^ dv.getInt32(ip + IP_SRC), 0x85ebca6b);
  h = Math.imul((h ^ (h >>> 15) ^ dv.getInt32(ip + IP_DST)) + u8[ip + IP_PROTOCOL], 0xc2b2ae35);
  h = Math.imul(h ^ (h >>> 13) ^ dv.getInt32(ip + IP_BYTES), 0x27d4eb2f);
  return h ^ (h >>> 16);
}
