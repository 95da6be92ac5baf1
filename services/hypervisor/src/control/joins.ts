/** Services that come by themselves (containers): a caller with the join token of a kind becomes a domain of that kind by
 *  connecting, and stays one for as long as the connection. docs/adr/0013. */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { type DomId, allowedCores, coreFor } from '@grantline/base';
import { DomainError, type Domain, type DomainKind, type Domains } from './domains.js';
import type { TestbedFiles } from './testbed-files.js';

const KINDS: readonly DomainKind[] = ['guest', 'driver-domain', 'nic'];

/** Who joins is somewhere (places.ts). */
export interface JoinPlaces {
  take: (name: string) => string | null;
  /** Where the hypervisor is. */
  own: string | null;
}

/** Where a domain's data thread is to run; null: the scheduler's choice. */
export interface Place {
  readonly core: number | null;
  /** Driver domain: while it is the receiver. */
  readonly nativeCore: number | null;
}

export class Joins {
  private readonly domains: Domains;
  private readonly tokens: ReadonlyMap<DomainKind, Buffer>;
  private readonly cores: readonly number[];
  /** Of each guest that joined: its place in the order of guests, from 0. */
  private readonly turns = new Map<DomId, number>();
  /** Of each guest that joined from a container: which. */
  private readonly containers = new Map<DomId, string>();
  private readonly places: JoinPlaces | null;

  /** Makes the tokens up and writes them. @param cores that the services may use
   *  @param places null: guests are not in containers, and may be as many in one place as they like */
  constructor(
    files: Pick<TestbedFiles, 'writeJoinToken'>,
    domains: Domains,
    places: JoinPlaces | null = null,
    cores = allowedCores(),
  ) {
    this.places = places;
    this.domains = domains;
    this.cores = cores;
    this.tokens = new Map(
      KINDS.map((kind) => {
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
    const known = KINDS.find((k) => k === kind);
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
  private containerOf(name: string, { take, own }: JoinPlaces): string | null {
    const place = take(name);
    if (place === null)
      throw new DomainError(403, 'a guest has to show where it is (docs/wire/control-plane.md section 3)');
    if (place === own) return null;
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
