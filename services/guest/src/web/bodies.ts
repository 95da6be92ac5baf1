/** Bodies that are read as fast as the other side takes them, from the pattern's table. */
import { createHash, type Hash } from 'node:crypto';
import { Readable } from 'node:stream';
import { crc32 } from 'node:zlib';
import { patternChunk } from '@grantline/measure';
import type { Lane } from './turns.js';

/** A body of the pattern. Holds no more than a few views, however long the body is, and makes pieces only as its lane has
 *  turns, however short they are. */
export class PatternStream extends Readable {
  private at: number;
  private readonly end: number;
  private readonly seed: number;
  private readonly chunk: number;
  private readonly lane: Lane;

  /** @param offset of the first byte in the endless pattern, @param chunk bytes of each piece */
  constructor(lane: Lane, seed: number, offset: number, bytes: number, chunk: number) {
    // Two pieces ahead: the next is there when the socket has room again.
    super({ highWaterMark: 2 * chunk });
    this.lane = lane;
    this.seed = seed;
    this.at = offset;
    this.end = offset + bytes;
    this.chunk = chunk;
  }

  override _read(): void {
    const bytes = Math.min(this.chunk, this.end - this.at);
    if (bytes === 0) this.push(null);
    else this.lane.run(bytes, () => this.make(bytes));
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.lane.clear();
    done(error);
  }

  private make(bytes: number): void {
    const piece = patternChunk(this.seed, this.at, bytes);
    this.at += bytes;
    this.push(piece);
  }
}

/** What is asked of a body that comes up. */
export interface Digest {
  bytes: number;
  crc32: string;
  sha256?: string;
}

/** Reads a body to its end. @throws TooLong, or the stream's error when it breaks off */
export async function digest(body: AsyncIterable<Buffer>, limit: number, sha256: boolean): Promise<Digest> {
  let bytes = 0;
  let crc = 0;
  const hash: Hash | null = sha256 ? createHash('sha256') : null;
  for await (const chunk of body) {
    bytes += chunk.length;
    if (bytes > limit) throw new TooLong();
    crc = crc32(chunk, crc);
    hash?.update(chunk);
  }
  return {
    bytes,
    crc32: crc.toString(16).padStart(8, '0'),
    ...(hash === null ? {} : { sha256: hash.digest('hex') }),
  };
}

/** More bytes than are taken. */
export class TooLong extends Error {
  readonly statusCode = 413;
  readonly code = 'FST_ERR_CTP_BODY_TOO_LARGE';

  constructor() {
    super('Request body is too large');
  }
}
