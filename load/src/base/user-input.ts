/** What a user names to be read: it may be a device without an end. */
import { closeSync, fstatSync, openSync, readFileSync, readSync } from 'node:fs';
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
