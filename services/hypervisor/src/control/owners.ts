/** Whose the files are, who else may open them, and whom domains run as. docs/wire/control-plane.md section 2, docs/adr/0013.
 *
 *  Three ways, by what the machine allows:
 *  - as root each domain has its own uid, and the operating system keeps their processes apart;
 *  - with roles (containers) each kind of service has its own user, and the hypervisor is in all their groups: it can give
 *    a file to a group that it is in. All guests are one user then, and their containers keep them apart;
 *  - otherwise all is one user's, and the directory keeps other users out. */
import type { DomId } from '@grantline/base';
import type { RoleGroups } from '@grantline/service';

/** uid and gid of domain d are UID_BASE + d. */
export const UID_BASE = 64000;

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
  readonly token: Owner;
  joinToken(kind: Joiner): Owner;
  /** Whom the domain's process should become. */
  identity(domid: DomId): Identity;
}

const AS_STARTED: Identity = { uid: null, gid: null, groups: [] };

/** @param roles groups of the roles, or null */
export function ownersFor(roles: RoleGroups | null): Owners {
  if (roles !== null) return byRole(roles);
  return process.getuid?.() === 0 ? byUid() : single();
}

function byUid(): Owners {
  const root: Owner = { uid: 0, gid: 0, mode: 0o600 };
  return {
    dirMode: 0o755,
    socketMode: 0o666,
    token: root,
    joinToken: () => root,
    identity: (d) => ({ uid: UID_BASE + d, gid: UID_BASE + d, groups: [] }),
  };
}

function byRole(g: RoleGroups): Owners {
  const to = (gid: number, mode: number): Owner => ({ uid: -1, gid, mode });
  return {
    dirMode: 0o711,
    socketMode: 0o666,
    token: to(g.operator, 0o640),
    joinToken: (kind) => to(g[kind], 0o640),
    identity: () => AS_STARTED,
  };
}

function single(): Owners {
  const own: Owner = { uid: -1, gid: -1, mode: 0o600 };
  return {
    dirMode: 0o700,
    socketMode: 0o600,
    token: own,
    joinToken: () => own,
    identity: () => AS_STARTED,
  };
}
