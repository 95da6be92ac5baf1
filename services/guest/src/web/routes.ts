/** What is answered by HTTP: the small answer, and bodies of a chosen size, down, up and in chunks, read as fast as the other
 *  side takes them from the pattern's table. docs/http.md */
import { createHash, type Hash } from 'node:crypto';
import { Readable } from 'node:stream';
import { crc32 } from 'node:zlib';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import type { FastifyBaseLogger, FastifyInstance, RawServerDefault } from 'fastify';
import { Type } from '@sinclair/typebox';
import {
  patternChunk,
  RootBody,
  PATTERN_CHUNK,
  MAX_BODY_BYTES,
  MAX_STREAM_CHUNK,
  UploadBody,
} from '@grantline/measure';
import type { Lane, WorkTurns } from './turns.js';

/** A fastify server whose routes take TypeBox schemas. */
export type WebInstance = FastifyInstance<
  RawServerDefault,
  IncomingMessage,
  ServerResponse,
  FastifyBaseLogger,
  TypeBoxTypeProvider
>;

/** Bytes that a stream hands on at a time. */
const PIECE = 64 << 10;

const Length = Type.Object({ n: Type.Integer({ minimum: 0, maximum: MAX_BODY_BYTES }) });
const Place = {
  seed: Type.Integer({ minimum: 0, maximum: 0xffff_ffff, default: 0 }),
  /** Where in the pattern the body starts: so a part of a long body can be asked for and compared. */
  offset: Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER - 2 * MAX_BODY_BYTES, default: 0 }),
};
const Bytes = Type.Object(Place, { additionalProperties: false });
const Stream = Type.Object(
  { ...Place, chunk: Type.Integer({ minimum: 1, maximum: MAX_STREAM_CHUNK, default: 16 << 10 }) },
  { additionalProperties: false },
);
const Upload = Type.Object(
  { hash: Type.Union([Type.Literal('crc32'), Type.Literal('sha256')], { default: 'crc32' }) },
  { additionalProperties: false },
);

/** GET /: the small answer. */
export function addRoot(app: WebInstance, name: string): void {
  app.get('/', { schema: { response: { 200: RootBody } } }, (request): RootBody => ({
    service: 'grantline',
    name,
    id: request.id === '' ? null : request.id,
  }));
}

export async function addBodies(app: WebInstance, turns: WorkTurns, limit = MAX_BODY_BYTES): Promise<void> {
  app.get('/bytes/:n', { schema: { params: Length, querystring: Bytes } }, (request, reply) => {
    const { n } = request.params;
    const { seed, offset } = request.query;
    reply.header('content-type', 'application/octet-stream');
    if (n <= PATTERN_CHUNK) return reply.send(patternChunk(seed, offset, n));
    reply.header('content-length', n);
    return reply.send(new PatternStream(turns.lane(), seed, offset, n, PIECE));
  });
  app.get('/stream/:n', { schema: { params: Length, querystring: Stream } }, (request, reply) => {
    const { seed, offset, chunk } = request.query;
    reply.header('content-type', 'application/octet-stream');
    return reply.send(new PatternStream(turns.lane(), seed, offset, request.params.n, chunk));
  });
  // In a context of its own: here, and only here, a body stays a stream.
  await app.register((context, _options, done) => {
    const up = context.withTypeProvider<TypeBoxTypeProvider>();
    up.removeAllContentTypeParsers();
    up.addContentTypeParser('*', (_request, _payload, parsed) => parsed(null));
    up.post(
      '/bytes',
      { schema: { querystring: Upload, response: { 200: UploadBody } } },
      async (request, reply): Promise<UploadBody> => {
        try {
          if (Number(request.headers['content-length'] ?? 0) > limit) throw new TooLong();
          const sum = await digest(request.raw, limit, request.query.hash === 'sha256');
          return { id: request.id === '' ? null : request.id, ...sum };
        } catch (error) {
          // What is left of the body is not read.
          reply.header('connection', 'close');
          throw error;
        }
      },
    );
    done();
  });
}

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
interface Digest {
  bytes: number;
  crc32: string;
  sha256?: string;
}

/** Reads a body to its end. @throws TooLong, or the stream's error when it breaks off */
async function digest(body: AsyncIterable<Buffer>, limit: number, sha256: boolean): Promise<Digest> {
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
class TooLong extends Error {
  readonly statusCode = 413;
  readonly code = 'FST_ERR_CTP_BODY_TOO_LARGE';

  constructor() {
    super('Request body is too large');
  }
}
