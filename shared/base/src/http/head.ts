/** HEAD for every route of a server: the headers of GET, at once, and nothing is made for a body that is not sent. */
import { Readable } from 'node:stream';
import type { onSendHookHandler, RouteOptions } from 'fastify';

/** fastify's HEAD routes read a stream to its end; they get an empty one instead. */
const dropBody: onSendHookHandler<unknown> = (_request, _reply, payload, done) => {
  if (!(payload instanceof Readable)) return done(null, payload);
  payload.destroy();
  done(null, Readable.from([]));
};

/** Hook for 'onRoute', before routes are added. */
export function answerHeadAtOnce(route: RouteOptions): void {
  if (route.method === 'HEAD') route.onSend = [dropBody, ...[route.onSend ?? []].flat()];
}
