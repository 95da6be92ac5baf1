/** Services that come by themselves (containers): whoever holds the join token of a kind becomes a domain of that kind by
 *  connecting, and stays one for as long as the connection. docs/adr/0013. */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import type { DomId } from '@grantline/shared/abi/page.js';
import { allowedCores, coreFor } from '@grantline/shared/service/placement.js';
import { DomainError, type Domain, type DomainKind, type Domains } from './domains.js';
import type { TestbedFiles } from './files.js';

const KINDS: readonly DomainKind[] = ['guest', 'driver-domain', 'nic'];

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

  /** Makes the tokens up and writes them. @param cores that the services may use */
  constructor(files: Pick<TestbedFiles, 'writeJoinToken'>, domains: Domains, cores = allowedCores()) {
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

  /** Makes the domain that whoever holds the token is from now on.
   *  @throws DomainError 401 for a wrong token, and what Domains.create throws */
  enter(kind: string, token: string): Domain {
    const known = KINDS.find((k) => k === kind);
    const right = known === undefined ? undefined : this.tokens.get(known);
    if (known === undefined || right === undefined || !timingSafeEqual(hash(token), right))
      throw new DomainError(401, 'this is not the join token of that kind');
    const { domain } = this.domains.create(known, true);
    if (known === 'guest') this.turns.set(domain.domid, this.freeTurn(domain.domid));
    return domain;
  }

  /** By the policy that the embedded testbed has too. */
  placeOf({ domid, kind }: Domain): Place {
    const core = coreFor(kind, this.turns.get(domid) ?? 0, this.cores);
    return { core, nativeCore: kind === 'driver-domain' ? coreFor('guest', 0, this.cores) : null };
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
