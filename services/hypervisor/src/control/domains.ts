/** The domains: their birth, their secrets, their state, and their death. */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { DOMID_DRIVER, DOMID_NIC, MAX_GUESTS, parseDomId, type DomId } from '@grantline/base';

export const DOMAIN_KINDS = ['guest', 'driver-domain', 'nic'] as const;
export type DomainKind = (typeof DOMAIN_KINDS)[number];
export type DomainState = 'created' | 'running' | 'dead';

/** Pages of memory by kind. */
export const MEMORY_PAGES: Readonly<Record<DomainKind, number>> = { guest: 1024, 'driver-domain': 4096, nic: 16 };

export interface Domain {
  readonly domid: DomId;
  readonly kind: DomainKind;
  readonly name: string;
  readonly memoryPages: number;
  state: DomainState;
  pid: number | null;
  http: string | null;
  readonly mac: string | null;
  readonly ip: string | null;
  /** It became a domain by connecting, and is one for as long as the connection. */
  readonly joined: boolean;
  /** Who has it may use the HTTP API of the domain's service; told to the domain and to the operator. */
  readonly controlKey: string;
}

/** Something that the caller of the operator's API did wrong, with the HTTP status that says so. */
export class DomainError extends Error {
  readonly statusCode: number;
  constructor(statusCode: number, message: string) {
    super(message);
    this.statusCode = statusCode;
  }
}

/** What happens around a domain's life; each is called in the middle of it, see create() and die(). */
export interface DomainWorld {
  /** Makes and maps memory, doorbell and the rest. @throws when shared memory is short */
  build(domain: Domain): void;
  /** The domain can be seen by others from now on. */
  born(domain: Domain): void;
  /** Takes the dead domain out of everything: ports, DMA, grants, watches, store; tells the others. */
  bury(domain: Domain): void;
  /** Frees memory and files. @returns false while something still uses the domain's pages */
  reap(domain: Domain): boolean;
}

interface Entry {
  readonly domain: Domain;
  readonly secretHash: Buffer;
  reaped: boolean;
  /** Its place in the order of deaths; 0: it lives. */
  died: number;
  /** DELETE was asked for: the entry goes once it is reaped. */
  forgotten: boolean;
}

const hash = (secret: string): Buffer => createHash('sha256').update(secret).digest();
export const guestMac = (domid: DomId): string => `00:16:3e:00:00:${domid.toString(16).padStart(2, '0')}`;
export const guestIp = (domid: DomId): string => `10.77.0.${domid}`;

const REAP_EVERY_MS = 20;

export class Domains {
  private readonly world: DomainWorld;
  private readonly entries = new Map<DomId, Entry>();
  private nextGuest = 1;
  /** Numbers of guests that are gone without a trace, the longest gone first: used when no new ones are left. */
  private readonly freed: DomId[] = [];
  private deaths = 0;
  private reaper: NodeJS.Timeout | null = null;

  constructor(world: DomainWorld) {
    this.world = world;
  }

  /** @throws DomainError 409 when there is one already, when its predecessor's pages are still in use, or when guest
   *  numbers have run out; what build() throws
   *  @param joined its process made it by connecting */
  create(kind: DomainKind, joined = false): { domain: Domain; secret: string } {
    const domid = this.numberFor(kind);
    const guest = kind === 'guest';
    const domain: Domain = {
      domid,
      kind,
      name: guest ? `guest${domid}` : kind,
      memoryPages: MEMORY_PAGES[kind],
      state: 'created',
      pid: null,
      http: null,
      mac: guest ? guestMac(domid) : null,
      ip: guest ? guestIp(domid) : null,
      joined,
      controlKey: randomBytes(32).toString('hex'),
    };
    const secret = randomBytes(32).toString('hex');
    this.world.build(domain);
    if (guest && domid === this.nextGuest) this.nextGuest++;
    else if (guest) this.freed.shift();
    this.entries.set(domid, { domain, secretHash: hash(secret), reaped: false, died: 0, forgotten: false });
    this.world.born(domain);
    return { domain, secret };
  }

  /** @returns the domain when the secret is its own and it is not dead, else null */
  claim(domid: number, secret: string): Domain | null {
    const entry = this.entries.get(domid as DomId);
    // The comparison is made in any case: its time must not tell which domains there are.
    const same = timingSafeEqual(entry?.secretHash ?? hash(''), hash(secret));
    return entry !== undefined && same && entry.domain.state !== 'dead' ? entry.domain : null;
  }

  /** The domain's process has ended, misbehaved, or is not wanted any more. Its files go once nothing uses its pages. */
  die(domid: DomId): void {
    const entry = this.entries.get(domid);
    if (entry === undefined || entry.domain.state === 'dead') return;
    entry.domain.state = 'dead';
    entry.died = ++this.deaths;
    this.world.bury(entry.domain);
    this.reap();
  }

  /** The domain's connection has ended. A guest that joined leaves no trace: its container comes back as another. */
  ended(domid: DomId): void {
    const domain = this.get(domid);
    if (domain?.joined && domain.kind === 'guest') this.destroy(domid);
    else this.die(domid);
  }

  /** Kills the domain and takes it off the list. @throws DomainError 404 */
  destroy(domid: DomId): void {
    const entry = this.entries.get(domid);
    if (entry === undefined) throw new DomainError(404, `there is no domain ${domid}`);
    entry.forgotten = true;
    this.die(domid);
    this.reap();
  }

  /** Dead ones included. */
  get(domid: number): Domain | null {
    return this.entries.get(domid as DomId)?.domain ?? null;
  }

  isLive(domid: DomId): boolean {
    const domain = this.get(domid);
    return domain !== null && domain.state !== 'dead';
  }

  list(): Domain[] {
    return [...this.entries.values()].map((e) => e.domain).sort((a, b) => a.domid - b.domid);
  }

  live(): Domain[] {
    return this.list().filter((d) => d.state !== 'dead');
  }

  guests(): Domain[] {
    return this.live().filter((d) => d.kind === 'guest');
  }

  /** Ends the waiting for pages in use; for shutdown. */
  stop(): void {
    if (this.reaper !== null) clearInterval(this.reaper);
    this.reaper = null;
  }

  private numberFor(kind: DomainKind): DomId {
    if (kind === 'guest') {
      // An old number is the last resort: what others may still hold of its last owner has then long been let go of.
      if (this.nextGuest <= MAX_GUESTS) return parseDomId(this.nextGuest);
      // Guests that died are on the list, to be looked at; a new one comes before the memory of an old one.
      if (this.freed.length === 0) this.forgetOldest();
      const free = this.freed[0];
      if (free !== undefined) return free;
      throw new DomainError(409, `there are ${MAX_GUESTS} guests, and no more numbers: remove some`);
    }
    const domid = kind === 'nic' ? DOMID_NIC : DOMID_DRIVER;
    const old = this.entries.get(domid);
    if (old === undefined) return domid;
    if (old.domain.state !== 'dead') throw new DomainError(409, `there is a ${kind} already`);
    this.reap();
    if (!old.reaped) throw new DomainError(409, `pages of the dead ${kind} are still in use: try again`);
    return domid;
  }

  private forgetOldest(): void {
    let oldest: Entry | null = null;
    for (const entry of this.entries.values()) {
      const { kind } = entry.domain;
      if (kind === 'guest' && entry.reaped && (oldest === null || entry.died < oldest.died)) oldest = entry;
    }
    if (oldest === null) return;
    oldest.forgotten = true;
    this.reap();
  }

  private reap(): void {
    let waiting = false;
    for (const [domid, entry] of this.entries) {
      if (entry.domain.state !== 'dead') continue;
      if (!entry.reaped) entry.reaped = this.world.reap(entry.domain);
      if (!entry.reaped) waiting = true;
      else if (entry.forgotten) {
        this.entries.delete(domid);
        if (entry.domain.kind === 'guest') this.freed.push(domid);
      }
    }
    if (waiting && this.reaper === null) {
      this.reaper = setInterval(() => this.reap(), REAP_EVERY_MS);
    } else if (!waiting) {
      this.stop();
    }
  }
}
