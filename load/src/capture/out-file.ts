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
import type { UserError } from '../base/errors.js';
import { checkTarget, codeOf, openStream, refusal, type UserStream } from '../base/user-file.js';
import type { BlockSink } from './capture-run.js';

/** Buffers that the system takes in one call. */
const VECTOR = 512;
/** What a reader may owe before frames are left to the services' rings, which count what they cannot keep. */
const OWED_BYTES = 4 << 20;

/** Where the blocks of a capture go. */
export interface CaptureOut extends BlockSink {
  /** Bytes that were given to it. */
  readonly bytes: number;
  /** Nobody reads it any more. Never for a file. */
  readonly gone: Promise<Error | null>;
  /** Writes what is left and closes. */
  close(): void | Promise<void>;
  drop(): void;
}

/** @param path as --out names it; - is the standard output @param waiting called when a FIFO has no reader yet
 *  @param signal ends the wait for one @throws UserError when it cannot be written */
export async function openOut(path: string, waiting: () => void, signal: AbortSignal): Promise<CaptureOut> {
  const target = checkTarget(path, '--out');
  if (target.kind === 'file') return new OutFile(target.path);
  if (target.kind === 'descriptor' && fstatSync(target.fd).isFile()) return new OutFile(path, 0, 0, target.fd);
  try {
    return new StreamOut(path, await openStream(target, waiting, signal));
  } catch (error) {
    if (signal.aborted) throw error;
    throw refusal(path, '--out', codeOf(error));
  }
}

/** A pipe, a socket, a terminal, a device. */
class StreamOut implements CaptureOut {
  bytes = 0;
  readonly gone: Promise<Error | null>;
  private readonly path: string;
  private readonly stream: UserStream;
  private blocks: Buffer[] = [];
  private owed = 0;
  private chain: Promise<void> = Promise.resolve();
  private failure: Error | null = null;

  constructor(path: string, stream: UserStream) {
    this.path = path;
    this.stream = stream;
    this.gone = stream.gone;
  }

  add(block: Buffer): void {
    this.blocks.push(block);
  }

  flush(): void {
    if (this.failure !== null) throw this.failure;
    if (this.blocks.length === 0) return;
    const bytes = Buffer.concat(this.blocks);
    this.blocks = [];
    this.bytes += bytes.length;
    this.owed += bytes.length;
    this.chain = this.chain
      .then(() => this.stream.write(bytes))
      .catch((error: NodeJS.ErrnoException) => {
        this.failure ??= refusal(this.path, '--out', codeOf(error));
      })
      .finally(() => (this.owed -= bytes.length));
  }

  room(): Promise<void> | null {
    return this.owed > OWED_BYTES ? this.chain : null;
  }

  async close(): Promise<void> {
    this.flush();
    await this.chain;
    await this.stream.close();
  }

  drop(): void {
    this.stream.drop();
  }
}

export class OutFile implements CaptureOut {
  readonly path: string;
  readonly gone = new Promise<never>(() => {});
  /** Bytes of whole blocks in it. */
  bytes = 0;
  readonly fd: number;
  private readonly isRegular: boolean;
  private readonly isOwn: boolean;
  /** Bytes that it held before. */
  private readonly before: number;
  private waiting: Buffer[] = [];
  private failed = false;
  private closed = false;

  /** A file that only this process can see, and that is gone with it. @throws UserError when it cannot be made */
  static unnamed(): OutFile {
    const file = new OutFile(join(tmpdir(), `grantline-capture-${randomUUID()}`), 0o600, constants.O_RDWR);
    unlinkSync(file.path);
    return file;
  }

  /** Makes the file, or empties it. @param own a file that is open already: it is written where it stands, and stays open
   *  @throws UserError when it cannot be written */
  constructor(path: string, mode = 0o666, access = constants.O_WRONLY, own: number | null = null) {
    this.path = path;
    this.isOwn = own !== null;
    try {
      this.fd = own ?? openSync(path, access | constants.O_CREAT | constants.O_TRUNC, mode);
      this.before = own === null ? 0 : fstatSync(own).size;
    } catch (error) {
      throw refusal(path, '--out', codeOf(error));
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
    /** Bytes of the first of `left` that are written. */
    let part = 0;
    for (let left = blocks; left.length > 0;) {
      let n = part;
      try {
        n += writevSync(this.fd, part === 0 ? left : [left[0].subarray(part), ...left.slice(1)]);
      } catch (error) {
        if (codeOf(error) === 'EAGAIN') continue;
        throw this.fail(error);
      }
      let whole = 0;
      for (; whole < left.length && n >= left[whole].length; whole++) {
        n -= left[whole].length;
        this.bytes += left[whole].length;
      }
      left = left.slice(whole);
      // Of half a block the next call says why, or goes on.
      part = n;
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
    if (!this.closed && !this.isOwn) closeSync(this.fd);
    this.closed = true;
  }

  private fail(error: unknown): UserError {
    this.failed = true;
    try {
      if (this.isRegular) ftruncateSync(this.fd, this.before + this.bytes);
    } catch {
      // A disk that does not even shorten a file: it stays as it is.
    }
    const todo = 'what it holds can be read; make room, or keep less with --snaplen or --frames';
    return refusal(this.path, '--out', codeOf(error), todo);
  }
}
