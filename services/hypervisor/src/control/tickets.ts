/** Tickets for descriptors: each is good once, for what its holder had a right to, and for a short time. Whoever has one is
 *  taken for the holder, so they are asked for over the domain's own connection and used at once. */
import { randomBytes } from 'node:crypto';
import { type DomId, nowNs } from '@grantline/base';
import type { Opener } from './shares.js';

/** A holder uses a ticket within milliseconds; one that was stopped meanwhile asks for another. */
const LIFE_NS = 10e9;
/** Unused ones of one holder; the oldest makes room. */
const EACH_MAX = 64;

interface Ticket {
  readonly holder: DomId;
  readonly open: Opener;
  readonly untilNs: number;
}

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
