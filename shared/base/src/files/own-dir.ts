/** Whose a directory is, and where a testbed lies when nobody says.
 *
 *  The testbed's directory holds the operator's token, says which processes belong to the testbed, and is removed as a whole: it must
 *  be ours, or others decide what we read, end and overwrite. Its usual place, /dev/shm, is everybody's, and its name can be foreseen;
 *  so who made it is asked each time, and root is asked as everybody else. */
import {
  existsSync,
  statSync,
  statfsSync,
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  fstatSync,
  lstatSync,
  mkdirSync,
  openSync,
  readSync,
  readFileSync,
  realpathSync,
  writeSync,
  type Stats,
} from 'node:fs';
import { isAbsolute, join, basename, dirname, resolve } from 'node:path';
import { UsageError } from '../process/failure.js';

const { O_CREAT, O_DIRECTORY, O_EXCL, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_RDWR } = constants;
const STICKY = 0o1000;
/** What others could write: mode bits of group and world. */
const OTHERS_WRITE = 0o022;
const MAX_TEXT_BYTES = 64 << 10;

/** Something there is not ours. One line that says what and what to do. */
export class NotOursError extends UsageError {}

export interface OwnDir {
  /** Without symbolic links. */
  readonly path: string;
  /** As it was found or made. */
  readonly mode: number;
  /** By this call. */
  readonly made: boolean;
}

/** Looks at a directory before anything in it is read or written.
 *  @param make with which mode to make it when it is not there; those above it come to be as the umask has them
 *  @returns null when it is not there and is not to be made
 *  @throws NotOursError when it is another's, a link, no directory, or others may write there or move it away;
 *  Error of the system when it cannot be made */
export function openOwnDir(dir: string, make?: number): OwnDir | null {
  const path = canonical(dir);
  let made = false;
  if (make !== undefined && !isThere(path)) {
    mkdirSync(dirname(path), { recursive: true });
    checkAbove(path);
    made = makeDir(path, make);
  } else if (!isThere(path)) {
    return null;
  }
  checkAbove(path);
  const s = lstatSync(path, { throwIfNoEntry: false });
  if (s === undefined) return null;
  checkDir(path, s);
  return { path, mode: s.mode & 0o7777, made };
}

/** The path by which everybody calls it: links above it are followed. What is not there yet is taken as it is written. */
export function canonical(dir: string): string {
  const path = resolve(dir);
  if (path === '/') return path;
  let above = dirname(path);
  const names = [basename(path)];
  while (!existsSync(above) && above !== '/') {
    names.unshift(basename(above));
    above = dirname(above);
  }
  try {
    return join(realpathSync(above), ...names);
  } catch {
    return path;
  }
}

/** A text file of ours that programs of ours wrote.
 *  @returns null when it is not there
 *  @throws NotOursError when it is no plain file, another's, or one that others may write */
export function readOwnFile(path: string): string | null {
  let fd: number;
  try {
    // Not blocking: a FIFO would wait for a writer.
    fd = openSync(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return null;
    if (code === 'ELOOP') throw new NotOursError(`${path} is a symbolic link: remove it, and see who made it`);
    throw error;
  }
  try {
    checkFile(path, fstatSync(fd));
    const bytes = Buffer.alloc(MAX_TEXT_BYTES);
    let length = 0;
    for (let n = -1; n !== 0 && length < bytes.length; length += n)
      n = readSync(fd, bytes, length, bytes.length - length, null);
    return bytes.toString('utf8', 0, length);
  } finally {
    closeSync(fd);
  }
}

/** Opens a file that is ours alone for locking and rewriting; makes it where it is not there.
 *  @throws NotOursError as readOwnFile */
export function openOwnFile(path: string, mode: number): number {
  let fd: number;
  try {
    fd = openSync(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK, mode);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ELOOP')
      throw new NotOursError(`${path} is a symbolic link: remove it, and see who made it`);
    throw error;
  }
  try {
    checkFile(path, fstatSync(fd));
    return fd;
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/** Whom a new file is for; -1: as it was made. */
export interface FileOwner {
  readonly uid: number;
  readonly gid: number;
  readonly mode: number;
}

/** A new file, not the one that somebody put there. @returns its descriptor, open for both. @throws Error EEXIST */
export function createFile(path: string): number {
  return openSync(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
}

/** Gives what was opened to its owner: by descriptor, so that it is what was made and nothing else. */
export function giveFile(fd: number, { uid, gid, mode }: FileOwner): void {
  if (uid >= 0 || gid >= 0) fchownSync(fd, uid < 0 ? fstatSync(fd).uid : uid, gid < 0 ? fstatSync(fd).gid : gid);
  fchmodSync(fd, mode);
}

/** Makes a small file with that text. @throws Error EEXIST */
export function writeNewFile(path: string, text: string, owner: FileOwner): void {
  const fd = createFile(path);
  try {
    writeSync(fd, text);
    giveFile(fd, owner);
  } finally {
    closeSync(fd);
  }
}

/** Sets the mode of a directory that was just made, whatever the umask says. */
export function setDirMode(path: string, mode: number): void {
  const fd = openSync(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  try {
    fchmodSync(fd, mode);
  } finally {
    closeSync(fd);
  }
}

const isThere = (path: string): boolean => lstatSync(path, { throwIfNoEntry: false }) !== undefined;

/** @returns false when somebody was faster. */
function makeDir(path: string, mode: number): boolean {
  try {
    mkdirSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
  setDirMode(path, mode);
  return true;
}

function checkDir(path: string, s: Stats): void {
  if (s.isSymbolicLink())
    throw new NotOursError(`${path} is a symbolic link: name the directory itself, or choose another`);
  if (!s.isDirectory()) throw new NotOursError(`${path} is no directory: choose another`);
  if ((s.mode & STICKY) !== 0 && (s.mode & OTHERS_WRITE) !== 0)
    throw new NotOursError(`${path} is for all users of this machine, as /dev/shm is: choose a directory below it`);
  if (s.uid !== ourUid()) throw new NotOursError(`${path} is another user's: choose a directory of your own`);
  if ((s.mode & OTHERS_WRITE) !== 0)
    throw new NotOursError(
      `others may write in ${path}: take that from them (chmod go-w), if what is in it is yours, or choose another directory`,
    );
}

function checkFile(path: string, s: Stats): void {
  if (!s.isFile()) throw new NotOursError(`${path} is no plain file: remove it, and see who made it`);
  if (s.uid !== ourUid() || (s.mode & OTHERS_WRITE) !== 0)
    throw new NotOursError(`${path} may be written by others: remove it, and see who made it`);
}

/** Who can write in a directory above can put another one in the place of ours. */
function checkAbove(path: string): void {
  for (let at = path; at !== dirname(at);) {
    at = dirname(at);
    const s = statSync(at);
    if (!isSystems(s.uid) && s.uid !== ourUid())
      throw new NotOursError(`${path} is below ${at}, which is another user's: choose a directory of your own`);
    if ((s.mode & OTHERS_WRITE) !== 0 && (s.mode & STICKY) === 0 && !isPrivateGroup(s))
      throw new NotOursError(`${path} is below ${at}, where others may write: choose another directory`);
  }
}

/** Many systems give each user a group of the same number, and let it write: it has one member. */
const isPrivateGroup = (s: Stats): boolean =>
  (s.mode & 0o002) === 0 && s.gid === s.uid && s.gid === process.getegid?.();

const ourUid = (): number => process.geteuid?.() ?? 0;

/** In a user namespace that does not know the machine's root its files seem to be nobody's. */
function isSystems(uid: number): boolean {
  if (uid === 0) return true;
  try {
    const overflow = Number(readFileSync('/proc/sys/kernel/overflowuid', 'utf8'));
    const everybody = /^\s*0\s+0\s+4294967295\s*$/.test(readFileSync('/proc/self/uid_map', 'utf8'));
    return uid === overflow && !everybody;
  } catch {
    return false;
  }
}

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
