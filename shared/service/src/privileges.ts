/** Giving up root. What a domain may open is then the operating system's decision, not our code's. */
import { UsageError } from '@grantline/base';

/** Who to become: null fields stay as they are. */
export interface Identity {
  readonly uid: number | null;
  readonly gid: number | null;
  readonly groups: readonly number[];
}

/** Becomes `who` for good: groups first, user last, because each step needs the right that the last one gives up.
 *  Does nothing when no uid is given, or when we are that user already.
 *  @returns true when something was given up
 *  @throws UsageError when we are not root; Error when the kernel let us keep a right */
export function dropPrivileges(who: Identity): boolean {
  const { uid } = who;
  if (uid === null) return false;
  const gid = who.gid ?? uid;
  const { setgroups, setgid, setuid, getuid, geteuid, getgid, getegid, getgroups } = process;
  if (!setgroups || !setgid || !setuid || !getuid || !geteuid || !getgid || !getegid || !getgroups)
    throw new UsageError('GRANTLINE_UID is not supported on this system: leave it unset');
  if (geteuid() !== 0) {
    if (geteuid() === uid) return false;
    throw new UsageError(`GRANTLINE_UID=${uid} needs root at the start: leave it unset, or start as root`);
  }
  setgroups([...who.groups]);
  setgid(gid);
  setuid(uid);
  const allowed = new Set([gid, ...who.groups]);
  if (getuid() !== uid || geteuid() !== uid || getgid() !== gid || getegid() !== gid)
    throw new Error(`still uid ${getuid()} gid ${getgid()} after dropping to ${uid}:${gid}`);
  if (getgroups().some((g) => !allowed.has(g))) throw new Error(`still in groups ${getgroups().join(',')}`);
  if (uid !== 0 && canBecomeRoot(setuid)) throw new Error('root could be taken back after dropping it');
  return true;
}

function canBecomeRoot(setuid: (id: number) => void): boolean {
  try {
    setuid(0);
    return true;
  } catch {
    return false;
  }
}
