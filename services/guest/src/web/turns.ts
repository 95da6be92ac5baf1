/** The application's share of each turn of the event loop. Frames of all guests' neighbours pass on the same thread, so what
 *  one turn does is bounded, by count and by bytes; what is over waits for the next turn, one piece of each lane after the
 *  other. A lane is whatever wants work in order: a body, a WebSocket, a connection's requests. */
import type { IncomingMessage } from 'node:http';
import type { onRequestHookHandler } from 'fastify';

/** Work of one turn, in units: a byte that is made or moved is one, each piece of work is some more. */
const TURN = 1 << 20;
/** What a piece costs beside its bytes. So there are at most 256 pieces in a turn. */
const PIECE_UNITS = 4096;

/** Entries of a lane that are done with, before it forgets them. */
const DONE_KEPT = 1024;

/** Work of a small answer, as bytes moved. */
const REQUEST_BYTES = 12 << 10;
/** So many that wait, and the connection is not read until they are done. */
const MOST_WAITING = 64;

interface Waiting {
  units: number;
  run: () => void;
}

export class WorkTurns {
  /** WorkTurns in which work was left over; for tests. */
  full = 0;
  private left = TURN;
  private armed = false;
  private lanes: Lane[] = [];
  private readonly onTurn = (): void => this.next();

  /** Work waits for the event loop's next turn. */
  get waiting(): boolean {
    return this.lanes.length > 0;
  }

  /** A new lane. */
  lane(): Lane {
    return new Lane(this);
  }

  /** @returns the units are this turn's: do it now */
  take(units: number): boolean {
    if (this.left <= 0 || this.lanes.length > 0) return false;
    this.left -= units;
    this.arm();
    return true;
  }

  wait(lane: Lane): void {
    lane.queued = true;
    this.lanes.push(lane);
    this.arm();
  }

  private arm(): void {
    if (this.armed) return;
    this.armed = true;
    setImmediate(this.onTurn);
  }

  private next(): void {
    this.armed = false;
    this.left = TURN;
    if (this.lanes.length === 0) return;
    this.full++;
    // Those that come to wait meanwhile stand behind.
    while (this.lanes.length > 0 && this.left > 0) {
      const lane = this.lanes.shift()!;
      lane.queued = false;
      this.left -= lane.step();
      if (lane.waiting > 0 && !lane.queued) this.wait(lane);
    }
    this.arm();
  }
}

export class Lane {
  /** It stands among those that wait for a turn. */
  queued = false;
  private readonly turns: WorkTurns;
  private queue: Waiting[] = [];
  private at = 0;

  constructor(turns: WorkTurns) {
    this.turns = turns;
  }

  /** Pieces of work that wait. */
  get waiting(): number {
    return this.queue.length - this.at;
  }

  /** Does it now, if this turn has room and nothing of the lane waits; or later, in order. @param bytes that it handles */
  run(bytes: number, run: () => void): void {
    const units = PIECE_UNITS + bytes;
    if (this.waiting === 0 && this.turns.take(units)) return run();
    this.queue.push({ units, run });
    if (!this.queued) this.turns.wait(this);
  }

  /** Nothing of what waits is done any more. */
  clear(): void {
    this.queue = [];
    this.at = 0;
  }

  /** Does what has waited longest. @returns its units */
  step(): number {
    if (this.waiting === 0) return 0;
    const { units, run } = this.queue[this.at++];
    if (this.at === this.queue.length) {
      this.clear();
    } else if (this.at >= DONE_KEPT) {
      this.queue = this.queue.slice(this.at);
      this.at = 0;
    }
    run();
    return units;
  }
}

/** Requests that come before those ahead of them are answered: a segment can hold thousands, and Node hands them over in one
 *  go. They are answered in the order in which they came, some in each turn; one at a time costs nothing here.
 *  Hook for 'onRequest'. */
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
