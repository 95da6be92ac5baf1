/** Bodies of a chosen size, down, up and in chunks. */
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import { Type } from '@sinclair/typebox';
import { PATTERN_CHUNK, patternChunk, MAX_BODY_BYTES, MAX_STREAM_CHUNK, UploadBody } from '@grantline/measure';
import type { WebInstance } from './instance.js';
import { digest, PatternStream, TooLong } from './bodies.js';
import type { WorkTurns } from './turns.js';

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
