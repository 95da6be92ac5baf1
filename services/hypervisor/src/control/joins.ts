/** Services that come by themselves (containers): a caller with the join token of a kind becomes a domain of that kind by
 *  connecting, and stays one for as long as the connection. Guests show first from which container they come (Places).
 *  docs/adr/0013. */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { ownPlace, placeOf } from '@grantline/xen';
import { nowNs, allowedCores, coreFor, type DomId } from '@grantline/base';
import { DOMAIN_KINDS, DomainError, type Domain, type DomainKind, type Domains } from './domains.js';
import type { TestbedFiles } from './testbed-files.js';

/** Where a domain's data thread is to run; null: the scheduler's choice. */
export interface Place {
  readonly core: number | null;
  /** Driver domain: while it is the receiver. */
  readonly nativeCore: number | null;
}

export class Joins {
  private readonly domains: Domains;
  private readonly tokens: ReadonlyMap<DomainKind, Buffer>;
  /** That the services may use. */
  private readonly cores = allowedCores();
  /** Of each guest that joined: its place in the order of guests, from 0. */
  private readonly turns = new Map<DomId, number>();
  /** Of each guest that joined from a container: which. */
  private readonly containers = new Map<DomId, string>();
  private readonly places: Places | null;

  /** Makes the tokens up and writes them.
   *  @param places null: guests are not in containers, and may be as many in one place as they like */
  constructor(files: TestbedFiles, domains: Domains, places: Places | null) {
    this.places = places;
    this.domains = domains;
    this.tokens = new Map(
      DOMAIN_KINDS.map((kind) => {
        const token = randomBytes(32).toString('hex');
        files.writeJoinToken(kind, token);
        return [kind, hash(token)];
      }),
    );
  }

  /** Makes the domain that the caller with the token is from now on.
   *  @param place name under which it has shown where it is
   *  @throws DomainError 401 for a wrong token, 403 when it has not shown where it is, 409 when that is a container which has a guest, and
   *  what Domains.create throws */
  enter(kind: string, token: string, place: string): Domain {
    const known = DOMAIN_KINDS.find((k) => k === kind);
    const right = known === undefined ? undefined : this.tokens.get(known);
    if (known === undefined || right === undefined || !timingSafeEqual(hash(token), right))
      throw new DomainError(401, 'this is not the join token of that kind');
    const container = known === 'guest' && this.places !== null ? this.containerOf(place, this.places) : null;
    const { domain } = this.domains.create(known, true);
    if (container === null) this.containers.delete(domain.domid);
    else this.containers.set(domain.domid, container);
    if (known === 'guest') this.turns.set(domain.domid, this.freeTurn(domain.domid));
    return domain;
  }

  /** By the policy that the embedded testbed has too. */
  placeOf({ domid, kind }: Domain): Place {
    const core = coreFor(kind, this.turns.get(domid) ?? 0, this.cores);
    return { core, nativeCore: kind === 'driver-domain' ? coreFor('guest', 0, this.cores) : null };
  }

  /** @returns null when it is where the hypervisor is: no container's */
  private containerOf(name: string, places: Places): string | null {
    const place = places.take(name);
    if (place === null)
      throw new DomainError(403, 'a guest has to show where it is (docs/wire/control-plane.md section 3)');
    if (place === ownPlace()) return null;
    const taken = this.domains.guests().some((g) => this.containers.get(g.domid) === place);
    if (taken) throw new DomainError(409, 'there is a guest from this container already');
    return place;
  }

  /** The first that no living guest has: guests that come and go fill each other's place. */
  private freeTurn(self: DomId): number {
    const others = this.domains.guests().filter((g) => g.domid !== self);
    const taken = new Set(others.map((g) => this.turns.get(g.domid)));
    let turn = 0;
    while (taken.has(turn)) turn++;
    return turn;
  }
}

const hash = (text: string): Buffer => createHash('sha256').update(text).digest();

/** A service that joins shows its place right before. */
const LIFE_NS = 10e9;
/** Shown and not used, of one place; the oldest makes room. */
const EACH_MAX = 4;
/** Of all: more than there can be guests. */
const ALL_MAX = 256;

/** From which containers guests have joined: one container is one guest, or one whose code was replaced could be all. */
export class Places {
  private readonly shown = new Map<string, { place: string; untilNs: number }>();
  private readonly now: () => number;

  constructor(now = nowNs) {
    this.now = now;
  }

  /** @param fd stays the caller's */
  show(name: string, fd: number): void {
    const place = placeOf(fd);
    if (place === null) return;
    for (const [old, { untilNs }] of this.shown) if (untilNs <= this.now()) this.shown.delete(old);
    const same = [...this.shown].filter(([, s]) => s.place === place);
    if (same.length >= EACH_MAX) this.shown.delete(same[0][0]);
    if (this.shown.size < ALL_MAX && !this.shown.has(name))
      this.shown.set(name, { place, untilNs: this.now() + LIFE_NS });
  }

  /** Once. @returns where the process is that has shown that name; null: none has */
  take(name: string): string | null {
    const found = this.shown.get(name);
    this.shown.delete(name);
    return found !== undefined && found.untilNs > this.now() ? found.place : null;
  }
}
