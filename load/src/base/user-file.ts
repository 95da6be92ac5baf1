/** Files that a user names. What is to be read may be a device without an end. This is the only place that writes one: a regular file is
 *  replaced whole, in its real folder: links to it stay. What is none - a pipe, a FIFO, a terminal, a device - is written to. The command's own
 *  descriptors are used as they are and not opened by name: that would fail for a socket and truncate a file. */
import {
  closeSync,
  fstatSync,
  openSync,
  readFileSync,
  readSync,
  accessSync,
  chmodSync,
  chownSync,
  constants,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readlinkSync,
  realpathSync,
  renameSync,
  rmdirSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
  type Stats,
} from 'node:fs';
import { randomUUID } from 'node:crypto';
import { Socket } from 'node:net';
import { basename, dirname, join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { isatty } from 'node:tty';
import { UserError } from './errors.js';

const MAX_JSON_BYTES = 500 << 20;
const PIECE = 64 << 10;

const STDIN = 0;

/** Reads a file whole, or a pipe or device to its end; of one that is too long no more than shows that it is.
 *  @param path - is standard input. @returns null when it is longer than `most` bytes. @throws system errors */
export function readUpTo(path: string, most: number): Buffer | null {
  const fd = path === '-' ? STDIN : openSync(path, 'r');
  try {
    const stat = fstatSync(fd);
    if (stat.size > most) return null;
    if (stat.isFile()) return readFileSync(fd);
    const pieces: Buffer[] = [];
    const piece = Buffer.allocUnsafe(PIECE);
    for (let bytes = 0; ;) {
      const n = readSync(fd, piece);
      if (n === 0) return Buffer.concat(pieces);
      bytes += n;
      if (bytes > most) return null;
      pieces.push(Buffer.from(piece.subarray(0, n)));
    }
  } finally {
    if (fd !== STDIN) closeSync(fd);
  }
}

/** The value in a file of results. @throws UserError when it is too long, no JSON, or cannot be read */
export function readJson(path: string): unknown {
  try {
    const bytes = readUpTo(path, MAX_JSON_BYTES);
    if (bytes !== null) return JSON.parse(bytes.toString('utf8'));
  } catch (error) {
    if (error instanceof SyntaxError)
      throw new UserError(
        `${path} is no JSON`,
        'it was cut short or changed: copy it again, or repeat the measurement',
      );
    throw new UserError(`cannot read ${path} (${(error as NodeJS.ErrnoException).code})`, 'check its permissions');
  }
  throw new UserError(`${path} is larger than ${MAX_JSON_BYTES >> 20} MiB`, 'repeat the measurement with fewer runs');
}

/** Where something goes. */
export type Target =
  /** A descriptor that the command was started with. */
  | { kind: 'descriptor'; fd: number }
  /** A regular file, or none yet. `path` goes through no link. */
  | { kind: 'file'; path: string; found: Stats | null }
  /** A FIFO or a device. */
  | { kind: 'special'; path: string };

/** Linux follows so many links. */
const MOST_LINKS = 40;
/** How often a FIFO is looked at that nobody reads yet. */
const READER_LOOK_MS = 50;

export const codeOf = (error: unknown): string => (error as NodeJS.ErrnoException).code ?? String(error);

/** @param option the option that names it, for messages @throws UserError for what cannot be written */
export function targetOf(path: string, option: string): Target {
  if (path === '-') return { kind: 'descriptor', fd: 1 };
  try {
    const target = followed(path);
    if (target.kind === 'descriptor') fstatSync(target.fd);
    return target;
  } catch (error) {
    throw refusal(path, option, codeOf(error));
  }
}

/** What a path names once all links are followed, also where nothing is there yet. @throws system errors */
function followed(path: string): Target {
  let at = resolve(path);
  for (let n = 0; n < MOST_LINKS; n++) {
    const fd = ownDescriptor(at);
    if (fd !== null) return { kind: 'descriptor', fd };
    // The folder's own links first: a relative link starts from where it really lies.
    if (existsSync(dirname(at))) at = join(realpathSync(dirname(at)), basename(at));
    let to: string;
    try {
      to = readlinkSync(at);
    } catch (error) {
      if (codeOf(error) !== 'EINVAL' && codeOf(error) !== 'ENOENT') throw error;
      const found = statSync(at, { throwIfNoEntry: false }) ?? null;
      if (found === null || found.isFile()) return { kind: 'file', path: at, found };
      if (found.isDirectory() || found.isSocket())
        throw Object.assign(new Error(at), { code: found.isSocket() ? 'it is a socket' : 'it is a directory' });
      return { kind: 'special', path: at };
    }
    at = resolve(dirname(at), to);
  }
  throw Object.assign(new Error(at), { code: 'ELOOP' });
}

/** A descriptor of this process by one of its names, or null. */
function ownDescriptor(path: string): number | null {
  const std = ['/dev/stdin', '/dev/stdout', '/dev/stderr'].indexOf(path);
  if (std >= 0) return std;
  const [, pid, fd] = /^\/(?:dev|proc\/(self|thread-self|\d+))\/fd\/(\d{1,6})$/.exec(path) ?? [];
  const ours = pid === undefined || pid === 'self' || pid === 'thread-self' || Number(pid) === process.pid;
  return fd !== undefined && ours ? Number(fd) : null;
}

/** Finds before anything is run that it can be written after it, with the folders that are still missing.
 *  @throws UserError */
export function checkTarget(path: string, option: string): Target {
  const target = targetOf(path, option);
  try {
    if (target.kind === 'special') accessSync(target.path, constants.W_OK);
    if (target.kind === 'file') {
      if (target.found !== null) accessSync(target.path, constants.W_OK);
      // A file that may be written in a folder that may not is written where it lies.
      else tryToMakeBeside(target.path);
    }
  } catch (error) {
    throw refusal(path, option, codeOf(error));
  }
  return target;
}

/** Makes and removes a folder beside what is there already of a path, and so finds whether the rest can be made.
 *  Not mkdir with `recursive`: under /proc Node tries that for ever. */
export function tryToMakeBeside(path: string): void {
  let at = dirname(path);
  while (!existsSync(at) && dirname(at) !== at) at = dirname(at);
  rmdirSync(mkdtempSync(join(at, '.grantline-')));
}

/** Writes all of it. @param option for messages @param waiting called once when a FIFO has no reader yet
 *  @returns when it is written, or nobody reads it any more. @throws UserError */
export async function writeUserFile(
  path: string,
  bytes: string | Uint8Array,
  option: string,
  waiting: () => void = () => {},
): Promise<void> {
  const target = targetOf(path, option);
  try {
    if (target.kind === 'file') return replaceFile(target.path, bytes);
    const stream = await openStream(target, waiting);
    try {
      await stream.write(Buffer.from(bytes));
    } finally {
      await stream.close();
    }
  } catch (error) {
    if (error instanceof UserError) throw error;
    throw refusal(path, option, codeOf(error));
  }
}

/** A file that is written and has not got its name yet. */
export interface Staged {
  /** Gives it its name; a reader sees the one or the other, never half of it. */
  commit(): void;
  /** Takes it away again. */
  drop(): void;
}

/** Writes a file beside the one that it is to replace. Its mode and, where that is allowed, its owner are kept, and a link to
 *  it stays one. A folder that takes no new file: the file that is there is overwritten where it lies.
 *  @throws system errors */
export function stageFile(path: string, bytes: string | Uint8Array): Staged {
  const target = followed(path);
  if (target.kind !== 'file') throw Object.assign(new Error(path), { code: 'it is no regular file' });
  const { path: real, found } = target;
  const overwrite = { commit: () => writeFileSync(real, bytes), drop: () => {} };
  const part = join(dirname(real), `.${basename(real).slice(0, 100)}.${randomUUID()}.part`);
  try {
    writeFileSync(part, bytes, { flag: 'wx' });
  } catch (error) {
    rmSync(part, { force: true });
    if (found !== null && ['EACCES', 'EPERM', 'EROFS'].includes(codeOf(error))) return overwrite;
    throw error;
  }
  const drop = (): void => rmSync(part, { force: true });
  if (found !== null) keepRights(part, found);
  return {
    commit() {
      try {
        renameSync(part, real);
      } catch (error) {
        drop();
        // A file that is mounted by itself has a name that cannot be given to another.
        if (found === null || !['EBUSY', 'EXDEV', 'EPERM', 'EACCES'].includes(codeOf(error))) throw error;
        overwrite.commit();
      }
    },
    drop,
  };
}

/** Replaces a file, or makes it with the folders that are missing. @throws system errors */
export function replaceFile(path: string, bytes: string | Uint8Array): void {
  mkdirSync(dirname(path), { recursive: true });
  stageFile(path, bytes).commit();
}

function keepRights(path: string, found: Stats): void {
  try {
    if (found.uid !== process.geteuid?.() || found.gid !== process.getegid?.()) chownSync(path, found.uid, found.gid);
  } catch {
    // Another user's file in a folder of ours: the new one is ours.
  }
  chmodSync(path, found.mode & 0o7777);
}

/** Something that is written in pieces, without ever holding up the thread for a reader. */
export interface UserStream {
  readonly fd: number;
  /** @returns when it has been taken. @throws system errors but EPIPE: then `gone` is fulfilled */
  write(bytes: Uint8Array): Promise<void>;
  /** Bytes that are not taken yet. */
  readonly waiting: number;
  /** Nobody reads it any more, or it cannot be written: with the error, but EPIPE is none. */
  readonly gone: Promise<Error | null>;
  /** Writes what waits, and closes it; a descriptor of the command's own stays open. */
  close(): Promise<void>;
  /** Lets go of it at once. */
  drop(): void;
}

/** @param waiting called once when a FIFO has no reader yet @param signal ends the wait. @throws system errors */
export async function openStream(
  target: Exclude<Target, { kind: 'file' }>,
  waiting: () => void = () => {},
  signal?: AbortSignal,
): Promise<UserStream> {
  if (target.kind === 'descriptor') return streamOn(target.fd, false);
  return streamOn(await openSpecial(target.path, waiting, signal), true);
}

/** Never blocks: a FIFO without a reader is looked at again and again. */
async function openSpecial(path: string, waiting: () => void, signal?: AbortSignal): Promise<number> {
  for (let told = false; ; told = true) {
    try {
      // What was a FIFO or a device may have become a file; that one is not emptied.
      return openSync(path, constants.O_WRONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
    } catch (error) {
      if (codeOf(error) !== 'ENXIO' || statSync(path, { throwIfNoEntry: false })?.isFIFO() !== true) throw error;
      if (!told) waiting();
      await sleep(READER_LOOK_MS, null, signal ? { signal } : {});
    }
  }
}

function streamOn(fd: number, ours: boolean): UserStream {
  const stat = fstatSync(fd);
  if ((stat.isFIFO() || stat.isSocket()) && !isatty(fd)) return socketStream(fd, ours);
  return plainStream(fd, ours);
}

/** A pipe or a socket: the event loop tells when there is room. */
function socketStream(fd: number, ours: boolean): UserStream {
  const own = fd === 1 ? process.stdout : fd === 2 ? process.stderr : null;
  const socket = own ?? new Socket({ fd, readable: false, writable: true });
  let broken = false;
  let tell: (error: Error | null) => void = () => {};
  const gone = new Promise<Error | null>((done) => (tell = done));
  const onError = (error: NodeJS.ErrnoException): void => {
    broken = true;
    tell(error.code === 'EPIPE' || error.code === 'ECONNRESET' ? null : error);
  };
  socket.on('error', onError);
  return {
    fd,
    gone,
    get waiting() {
      return broken ? 0 : socket.writableLength;
    },
    write: (bytes) =>
      broken
        ? Promise.resolve()
        : new Promise((done, fail) => {
            socket.write(bytes, (error) => {
              const code = (error as NodeJS.ErrnoException | null | undefined)?.code;
              if (error && code !== 'EPIPE' && code !== 'ECONNRESET' && code !== 'ERR_STREAM_DESTROYED') fail(error);
              else done();
            });
          }),
    async close() {
      if (own === null && !broken) await new Promise<void>((done) => socket.once('close', () => done()).end());
      else if (!broken && socket.writableLength > 0) await new Promise<void>((done) => socket.write('', () => done()));
      if (own !== null) socket.off('error', onError);
    },
    drop() {
      if (ours || own !== null) socket.destroy();
    },
  };
}

/** A file that is open already, a terminal or a device: the system takes what it is given. */
function plainStream(fd: number, ours: boolean): UserStream {
  let closed = false;
  const drop = (): void => {
    if (ours && !closed) closeSync(fd);
    closed = true;
  };
  let tell: (error: Error | null) => void = () => {};
  let broken = false;
  return {
    fd,
    waiting: 0,
    gone: new Promise((done) => (tell = done)),
    async write(bytes) {
      for (let at = 0; at < bytes.length && !broken;) {
        try {
          at += writeSync(fd, bytes, at);
        } catch (error) {
          if (codeOf(error) === 'EAGAIN') await sleep(READER_LOOK_MS);
          else if (codeOf(error) === 'EPIPE' || codeOf(error) === 'EIO') {
            broken = true;
            tell(null);
          } else throw error;
        }
      }
    },
    close: () => Promise.resolve(drop()),
    drop,
  };
}

/** @param path as a user named it @param code of the error */
export function unwritten(path: string, code: string): string {
  const name = path === '-' ? 'the standard output' : path === '' ? '""' : path;
  const full = code === 'ENOSPC' || code === 'EDQUOT' || code === 'EFBIG';
  return full ? `no room is left for ${name}` : `cannot write ${name} (${code})`;
}

/** Why what a user named cannot be written, in one line. @param code of the error @param todo what to do about it, where that is
 *  not to choose another */
export function refusal(path: string, option: string, code: string, todo?: string): UserError {
  return new UserError(
    unwritten(path, code),
    todo ?? (code === 'it is a directory' ? `give ${option} the name of a file` : `choose another file for ${option}`),
  );
}
