/** Where a testbed lies when nobody says. */
import { existsSync, statSync, statfsSync } from 'node:fs';
import { isAbsolute, join } from 'node:path';
import { openOwnDir } from './own-dir.js';

const TMPFS_MAGIC = 0x01021994;
/** Sockets, tokens and logs; what domains share is not in the directory. */
const ENOUGH_BYTES = 16 << 20;

/** On tmpfs: the directory of a testbed that is there, or else the best place for one. A user's own directory of the session is nobody
 *  else's from the start; root's domains, which have users of their own, could not pass through it.
 *  @param enough what there must be free, bytes; replaced in tests */
export function usualDir(env: NodeJS.ProcessEnv = process.env, enough = ENOUGH_BYTES): string {
  const dirs = usualDirs(env, enough);
  return dirs.find(hasTestbed) ?? dirs[0];
}

function usualDirs(env: NodeJS.ProcessEnv, enough: number): string[] {
  const uid = process.geteuid?.() ?? 0;
  const shm = `/dev/shm/grantline-${uid}`;
  const session = env['XDG_RUNTIME_DIR'] ?? '';
  if (uid === 0 || !isAbsolute(session) || !isOwnTmpfs(session)) return [shm];
  const own = join(session, 'grantline');
  return freeIn(session) >= enough ? [own, shm] : [shm, own];
}

/** One of ours: what others put under a name that can be foreseen is no reason to go there. */
function hasTestbed(dir: string): boolean {
  try {
    return openOwnDir(dir) !== null && ['testbed.json', 'hypervisor.pid'].some((name) => existsSync(join(dir, name)));
  } catch {
    return false;
  }
}

function isOwnTmpfs(dir: string): boolean {
  try {
    const s = statSync(dir);
    return (
      s.isDirectory() && s.uid === process.geteuid?.() && (s.mode & 0o077) === 0 && statfsSync(dir).type === TMPFS_MAGIC
    );
  } catch {
    return false;
  }
}

function freeIn(dir: string): number {
  const { bavail, bsize } = statfsSync(dir);
  return bavail * bsize;
}
