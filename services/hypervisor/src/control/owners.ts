/** Who owns the shared files, and who else may open them. docs/wire/control-plane.md section 2, docs/adr/0013.
 *
 *  Three ways, by what the machine allows:
 *  - as root each domain has its own uid, and the operating system keeps all apart;
 *  - with roles (containers) each kind of service has its own user, and the hypervisor is in all their groups: it can give
 *    a file to a group that it is in. All guests are one user then, so each one's files have a name that only it is told;
 *  - otherwise all files are one user's, and the directory keeps other users out. */
import { randomBytes } from 'node:crypto';
import { DOMID_DRIVER, DOMID_NIC, type DomId } from '@grantline/shared/abi/page.js';
import type { RoleGroups } from '@grantline/shared/service/env.js';

/** uid and gid of domain d are UID_BASE + d; group `io` is UID_BASE itself. */
export const UID_BASE = 64000;
export const GID_IO = UID_BASE;
export const uidOf = (domid: DomId): number => UID_BASE + domid;

/** -1: leave it as it is. */
export interface Owner {
  readonly uid: number;
  readonly gid: number;
  readonly mode: number;
}

/** A process's user and groups; uid and gid null: as it was started. */
export interface Identity {
  readonly uid: number | null;
  readonly gid: number | null;
  readonly groups: number[];
}

/** Kinds of domains, as in the names of the join tokens. */
export type Joiner = 'guest' | 'driver-domain' | 'nic';

export interface Owners {
  /** Mode of the directory itself; null: as it was found. */
  readonly dirMode: number;
  readonly socketMode: number;
  /** Ending of the name of a domain's directory, or of the page of a pair of which it is the lower: what keeps one guest
   *  from another's. Empty where the operating system does. */
  secret(domid: DomId): string;
  memory(domid: DomId): Owner;
  doorbell(domid: DomId): Owner;
  counters(domid: DomId): Owner;
  eventPage(low: DomId, high: DomId): Owner;
  readonly dmaTable: Owner;
  readonly dmaBurst: Owner;
  readonly token: Owner;
  joinToken(kind: Joiner): Owner;
  /** Whom the domain's process should become. */
  identity(domid: DomId): Identity;
}

const isServed = (domid: DomId): boolean => domid === DOMID_DRIVER || domid === DOMID_NIC;
const AS_STARTED: Identity = { uid: null, gid: null, groups: [] };

/** @param roles groups of the roles, or null */
export function ownersFor(roles: RoleGroups | null): Owners {
  if (roles !== null) return byRole(roles);
  return process.getuid?.() === 0 ? byUid() : single();
}

function byUid(): Owners {
  const nic = uidOf(DOMID_NIC);
  const root: Owner = { uid: 0, gid: 0, mode: 0o600 };
  return {
    dirMode: 0o755,
    socketMode: 0o666,
    secret: () => '',
    memory: (d) => ({ uid: uidOf(d), gid: GID_IO, mode: 0o660 }),
    doorbell: (d) => ({ uid: uidOf(d), gid: GID_IO, mode: isServed(d) ? 0o622 : 0o620 }),
    counters: (d) => ({ uid: uidOf(d), gid: uidOf(d), mode: 0o644 }),
    // The lower number is the guest's, or the driver domain's where the other is the nic: the other opens by group io.
    eventPage: (low) => ({ uid: uidOf(low), gid: GID_IO, mode: 0o660 }),
    dmaTable: { uid: 0, gid: nic, mode: 0o640 },
    dmaBurst: { uid: nic, gid: nic, mode: 0o644 },
    token: root,
    joinToken: () => root,
    identity: (d) => ({ uid: uidOf(d), gid: uidOf(d), groups: isServed(d) ? [GID_IO] : [] }),
  };
}

function byRole(g: RoleGroups): Owners {
  const to = (gid: number, mode: number): Owner => ({ uid: -1, gid, mode });
  const ownGroup = (d: DomId): number => g[d === DOMID_NIC ? 'nic' : d === DOMID_DRIVER ? 'driver-domain' : 'guest'];
  return {
    dirMode: 0o711,
    socketMode: 0o666,
    secret: (d) => (isServed(d) ? '' : `-${randomBytes(16).toString('hex')}`),
    memory: (d) => to(isServed(d) ? g.io : g.peers, 0o660),
    // Whoever is told the path may ring; only the owner's group may read, and so take a ring away.
    doorbell: (d) => to(ownGroup(d), 0o662),
    counters: (d) => to(ownGroup(d), 0o660),
    eventPage: (low) => to(isServed(low) ? g.io : g.peers, 0o660),
    dmaTable: to(g.nic, 0o640),
    dmaBurst: to(g.nic, 0o664),
    token: to(g.operator, 0o640),
    joinToken: (kind) => to(g[kind], 0o640),
    identity: () => AS_STARTED,
  };
}

function single(): Owners {
  const own = (mode: number): Owner => ({ uid: -1, gid: -1, mode });
  return {
    dirMode: 0o700,
    socketMode: 0o600,
    secret: () => '',
    memory: () => own(0o600),
    doorbell: () => own(0o600),
    counters: () => own(0o644),
    eventPage: () => own(0o600),
    dmaTable: own(0o600),
    dmaBurst: own(0o644),
    token: own(0o600),
    joinToken: () => own(0o600),
    identity: () => AS_STARTED,
  };
}
