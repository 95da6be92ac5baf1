/** The injector on one direction of the cable: seeded loss, duplication, corruption, reordering and delay, at most one of
 *  them for a frame, each counted. Off, there is none of it. docs/measuring.md.
 *
 *  A decision is drawn when a frame is carried on, not when it is looked at: one that finds no buffer and is offered
 *  again meets the same fate. What is held is bounded; a fault that finds no room is left out and counted as `full`. */
import { slots, type CounterBlock, type Mem, type PrivateMemory } from '@grantline/machine';
import { FAULTS_COUNTERS } from '@grantline/observe';
import * as dice from './fault-dice.js';
import { FaultDice } from './fault-dice.js';
import type { FaultSettings } from '@grantline/base';
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
import { HeldFrames } from './held-frames.js';

export const F = slots(FAULTS_COUNTERS);
/** A frame that nothing of its flow overtakes goes on after so long, in its place. */
export const OVERTAKE_NS = 10e6;
/** What found no buffer is tried again after so long. */
const AGAIN_NS = 100e3;
const NO_FAULTS: FaultSettings = { seed: 1, loss: 0, duplicate: 0, corrupt: 0, reorder: 0, delay: 0, delayUs: 1 };

/** Where frames go on to. Status below 0: not taken, to be offered again; nothing was counted. */
export type Carry = (head: number, headBytes: number, body: number, bodyBytes: number) => number;
/** Frames that `Carry` did not take. */
export const NOT_TAKEN = -1;

export interface FaultOptions {
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
    const { verdict } = this.dice;
    if (verdict === dice.PASS) return this.pass(head, headBytes, body, bodyBytes, nowNs);
    const v = this.counters.v;
    if (verdict === dice.LOSE) {
      v[F.lost]++;
      return this.done(0);
    }
    const slot = this.held.copy(head, headBytes, body, bodyBytes);
    if (slot < 0) {
      const status = this.pass(head, headBytes, body, bodyBytes, nowNs);
      if (status !== NOT_TAKEN) v[F.full]++;
      return status;
    }
    if (verdict === dice.CORRUPT) return this.corrupt(slot);
    const flow = this.flowAt(slot);
    if (verdict === dice.DUPLICATE) return this.duplicate(slot, flow, head, headBytes, body, bodyBytes, nowNs);
    const isDelay = verdict === dice.DELAY;
    if (isDelay) v[F.delayed]++;
    this.held.hold(slot, flow, nowNs + (isDelay ? this.delayNs : OVERTAKE_NS), !isDelay);
    return this.done(0);
  }

  /** Carries on what is due. @returns how many frames that was */
  release(nowNs: number): number {
    const { held } = this;
    const v = this.counters.v;
    let n = 0;
    for (let i = 0; i < held.count;) {
      const slot = held.list[i];
      if (held.dueNs[slot] > nowNs) {
        i++;
        continue;
      }
      const waits = held.waits[slot] === 1;
      if (!this.goOn(i, nowNs)) {
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
    this.goOn(this.held.count - 1, nowNs);
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
      if (!this.goOn(i, nowNs)) i++;
    }
  }

  /** @returns true when the i-th of the list went on and is in the list no more */
  private goOn(i: number, nowNs: number): boolean {
    const { held } = this;
    const slot = held.list[i];
    if (this.carry(held.at(slot), held.bytes[slot], 0, 0) === NOT_TAKEN) {
      held.dueNs[slot] = nowNs + AGAIN_NS;
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
