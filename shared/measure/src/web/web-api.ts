/** What the application in a guest answers by HTTP, for it and for those that load and check it. docs/http.md */
import { Type, type Static } from '@sinclair/typebox';

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
