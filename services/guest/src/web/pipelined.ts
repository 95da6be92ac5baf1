/** Requests that come before those ahead of them are answered: a segment can hold thousands, and Node hands them over in one
 *  go. They are answered in the order in which they came, some in each turn; one at a time costs nothing here. */
import type { IncomingMessage } from 'node:http';
import type { onRequestHookHandler } from 'fastify';
import type { Lane, WorkTurns } from './turns.js';

/** Work of a small answer, as bytes moved. */
const REQUEST_BYTES = 12 << 10;
/** So many that wait, and the connection is not read until they are done. */
const MOST_WAITING = 64;

/** Hook for 'onRequest'. */
export function queuePipelined(turns: WorkTurns): onRequestHookHandler {
  const lanes = new WeakMap<IncomingMessage['socket'], Lane>();
  return (request, reply, done) => {
    // Only the answer whose turn it is has the socket.
    if (reply.raw.socket !== null) return done();
    const { socket } = request.raw;
    let lane = lanes.get(socket);
    if (lane === undefined) {
      lane = turns.lane();
      lanes.set(socket, lane);
    }
    const own = lane;
    own.run(REQUEST_BYTES, () => {
      if (own.waiting === 0) socket.resume();
      if (!socket.destroyed) done();
    });
    if (own.waiting >= MOST_WAITING) socket.pause();
  };
}
