/** The file that a capture is written to. It ends at a whole block whatever happens: a disk that gets full cuts off what did
 *  not fit. */
import {
  closeSync,
  constants,
  createReadStream,
  fstatSync,
  ftruncateSync,
  openSync,
  unlinkSync,
  writevSync,
} from 'node:fs';
import { randomUUID } from 'node:crypto';
import { Readable } from 'node:stream';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { UserError } from '../cli/errors.js';

/** Buffers that the system takes in one call. */
const VECTOR = 512;

export class OutFile {
  readonly path: string;
  /** Bytes of whole blocks in it. */
  bytes = 0;
  readonly fd: number;
  private readonly isRegular: boolean;
  private waiting: Buffer[] = [];
  private failed = false;
  private closed = false;

  /** A file that only this process can see, and that is gone with it. @throws UserError when it cannot be made */
  static unnamed(): OutFile {
    const file = new OutFile(join(tmpdir(), `grantline-capture-${randomUUID()}`), 0o600, constants.O_RDWR);
    unlinkSync(file.path);
    return file;
  }

  /** Makes the file, or empties it. @throws UserError when it cannot be written */
  constructor(path: string, mode = 0o644, access = constants.O_WRONLY) {
    this.path = path;
    try {
      this.fd = openSync(path, access | constants.O_CREAT | constants.O_TRUNC, mode);
    } catch (error) {
      throw new UserError(
        `cannot write ${path} (${(error as NodeJS.ErrnoException).code})`,
        'choose another with --out',
      );
    }
    this.isRegular = fstatSync(this.fd).isFile();
  }

  /** Adds a block; `flush` writes it. */
  add(block: Buffer): void {
    this.waiting.push(block);
    if (this.waiting.length === VECTOR) this.flush();
  }

  /** @throws UserError when the disk is full or the file cannot be written any more; what is in it stays whole */
  flush(): void {
    const blocks = this.waiting;
    this.waiting = [];
    if (this.failed) return;
    for (let left: Buffer[] = blocks; left.length > 0;) {
      let n: number;
      try {
        n = writevSync(this.fd, left);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'EAGAIN') continue;
        throw this.fail(error as NodeJS.ErrnoException);
      }
      let k = 0;
      for (; k < left.length && n >= left[k].length; k++) {
        n -= left[k].length;
        this.bytes += left[k].length;
      }
      left = left.slice(k);
      // Half a block: the next call says why, or goes on.
      if (n > 0) left = this.rest(left, n);
    }
  }

  /** Writes what is left and closes. */
  close(): void {
    try {
      this.flush();
    } finally {
      this.drop();
    }
  }

  /** What is in it now, by a descriptor of its own: once this one is closed, its number may be another file's. */
  read(): Readable {
    if (this.bytes === 0) return Readable.from([]);
    const fd = openSync(`/proc/self/fd/${this.fd}`, constants.O_RDONLY);
    return createReadStream('', { fd, start: 0, end: this.bytes - 1 });
  }

  /** Closes it, whatever was to be written. */
  drop(): void {
    this.waiting = [];
    if (!this.closed) closeSync(this.fd);
    this.closed = true;
  }

  /** The rest of a block that was written in part. @returns the blocks after it */
  private rest(blocks: Buffer[], done: number): Buffer[] {
    const [block, ...others] = blocks;
    for (let at = done; at < block.length;) {
      try {
        at += writevSync(this.fd, [block.subarray(at)]);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'EAGAIN') continue;
        throw this.fail(error as NodeJS.ErrnoException);
      }
    }
    this.bytes += block.length;
    return others;
  }

  private fail(error: NodeJS.ErrnoException): UserError {
    this.failed = true;
    try {
      if (this.isRegular) ftruncateSync(this.fd, this.bytes);
    } catch {
      // A disk that does not even shorten a file: it stays as it is.
    }
    const full = error.code === 'ENOSPC' || error.code === 'EDQUOT' || error.code === 'EFBIG';
    return new UserError(
      full ? `no room is left for ${this.path}` : `cannot write ${this.path} any more (${error.code})`,
      'what it holds can be read; make room, or keep less with --snaplen or --frames',
    );
  }
}
