/** What the application in a guest answers by HTTP, for it and for those that load and check it: names, limits, answers,
 *  and the pattern that bodies consist of. docs/http.md */
import { Type, type Static } from '@sinclair/typebox';
import { Rng } from '@grantline/base';

/** Longest body down or up. */
export const MAX_BODY_BYTES = 1 << 30;
/** Longest chunk that GET /stream takes. */
export const MAX_STREAM_CHUNK = 256 << 10;
/** Longest message that the WebSocket echo takes. */
export const MAX_MESSAGE_BYTES = 1 << 20;
/** Names a request; the answer repeats it, so that an answer to another one is noticed. */
export const REQUEST_ID = 'x-request-id';

/** GET / */
export const RootBody = Type.Object({
  service: Type.Literal('grantline'),
  /** Who answers: guest1, or loopback. */
  name: Type.String(),
  /** The request's x-request-id; null without one. */
  id: Type.Union([Type.String(), Type.Null()]),
});
export type RootBody = Static<typeof RootBody>;

/** POST /bytes */
export const UploadBody = Type.Object({
  id: Type.Union([Type.String(), Type.Null()]),
  bytes: Type.Integer(),
  /** CRC-32 (zlib's) as eight hexadecimal digits. */
  crc32: Type.String(),
  /** With ?hash=sha256 only. */
  sha256: Type.Optional(Type.String()),
});
export type UploadBody = Static<typeof UploadBody>;

// Bodies of HTTP answers of which any byte can be checked: a table of printable characters, repeated, that each seed
// enters at a place of its own. Chunks are views of the table: nothing is computed or copied for a body.
//
// The period is a prime, so that a piece that is lost, doubled or moved by any usual size (a segment, a page, a chunk)
// shows in the bytes behind it. Printable, since a client may look at a body as text.

/** Bytes after which a body repeats. */
export const PATTERN_PERIOD = 65_521;
/** Longest chunk that is one view. */
export const PATTERN_CHUNK = 256 << 10;

const FIRST = 0x20;
const CHARACTERS = 0x7f - FIRST;

const table: Buffer = makeTable();

function makeTable(): Buffer {
  const bytes = Buffer.allocUnsafeSlow(PATTERN_PERIOD + PATTERN_CHUNK);
  const rng = new Rng(0x5eed);
  for (let i = 0; i < PATTERN_PERIOD; i++) bytes[i] = FIRST + rng.below(CHARACTERS);
  // The rest repeats the beginning: a chunk that starts anywhere in the first period is in one piece.
  for (let at = PATTERN_PERIOD; at < bytes.length; at += PATTERN_PERIOD) bytes.copy(bytes, at, 0, PATTERN_PERIOD);
  return bytes;
}

/** Where in the period a body with this seed starts. */
export function patternStart(seed: number): number {
  // Seeds beside each other are to start far apart.
  return (Math.imul(seed, 0x9e37_79b1) >>> 0) % PATTERN_PERIOD;
}

/** @param offset in the body, @param bytes at most PATTERN_CHUNK. @returns a view that must not be written */
export function patternChunk(seed: number, offset: number, bytes: number): Buffer {
  if (bytes > PATTERN_CHUNK) throw new RangeError(`a chunk of ${bytes} bytes is longer than ${PATTERN_CHUNK}`);
  const at = (patternStart(seed) + offset) % PATTERN_PERIOD;
  return table.subarray(at, at + bytes);
}

/** A whole body; for short ones. */
export function patternBody(seed: number, bytes: number, offset = 0): Buffer {
  const out = Buffer.allocUnsafe(bytes);
  for (let at = 0; at < bytes; at += PATTERN_CHUNK)
    patternChunk(seed, offset + at, Math.min(PATTERN_CHUNK, bytes - at)).copy(out, at);
  return out;
}
