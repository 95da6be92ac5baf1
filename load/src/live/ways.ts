/** Which counters tell what the live page shows, by what is measured: frames go to the guests or come from them, and
 *  streams, requests and web traffic end in other places than generated frames. Pure. */
import type { ExperimentDirection } from '../runner/labels.js';
import type { Flow } from '../../page/messages.js';
import {
  inDriverDomain,
  inGuests,
  inNic,
  sum,
  type BlockKind,
  type Snapshot,
  type Where,
} from '../control/snapshot.js';

/** What grows by a frame, or a segment, and by its bytes. */
interface Count {
  kind: BlockKind;
  frames: string;
  bytes: string;
}

export interface Way {
  /** From the guests to the far end of the cable. */
  out: boolean;
  /** What is offered; null: as much as the cable carries. */
  offered: Count | null;
  /** What applications took, and where they are. */
  delivered: Count;
  takers: 'far' | 'guests';
  /** What each guest took or gave. */
  ofGuest: Count;
}

const APP: Count = { kind: 'app', frames: 'frames', bytes: 'bytes' };
const SENDER: Count = { kind: 'sender', frames: 'frames', bytes: 'bytes' };
const IN: Count = { kind: 'net', frames: 'tcpIn', bytes: 'tcpInBytes' };
const OUT: Count = { kind: 'net', frames: 'tcpOut', bytes: 'tcpOutBytes' };

const WAYS: Readonly<Record<ExperimentDirection, Way>> = {
  rx: { out: false, offered: null, delivered: APP, takers: 'guests', ofGuest: APP },
  tx: { out: true, offered: SENDER, delivered: APP, takers: 'far', ofGuest: SENDER },
  'guest-to-guest': { out: false, offered: SENDER, delivered: APP, takers: 'guests', ofGuest: APP },
  // Half of what moves: the answers.
  rr: {
    ...{ out: true, offered: null, delivered: APP, takers: 'far' },
    ofGuest: { kind: 'responder', frames: 'responses', bytes: 'responseBytes' },
  },
  'tcp-rx': { out: false, offered: null, delivered: IN, takers: 'guests', ofGuest: IN },
  'tcp-tx': { out: true, offered: null, delivered: IN, takers: 'far', ofGuest: OUT },
  http: { out: true, offered: null, delivered: IN, takers: 'far', ofGuest: OUT },
};

export const wayOf = (direction: ExperimentDirection): Way => WAYS[direction];

/** Where the applications are that take. @param native the driver domain stands for the guests */
export const takersOf = (way: Way, native: boolean): Where =>
  way.takers === 'far' ? inNic : native ? inDriverDomain : inGuests;

/** Traffic that nobody announced: the web, when only TCP/IP stacks take what comes. */
export function unannounced(grown: Snapshot): ExperimentDirection {
  return sum(grown, 'app', 'frames') === 0 && sum(grown, 'net', 'tcpIn', inGuests) > 0 ? 'http' : 'rx';
}

/** Per second. */
export function flowOf(grown: Snapshot, seconds: number, counts: readonly Count[], where?: Where): Flow {
  let fps = 0;
  let bytes = 0;
  for (const { kind, frames, bytes: name } of counts) {
    fps += sum(grown, kind, frames, where);
    bytes += sum(grown, kind, name, where);
  }
  return seconds > 0 ? { fps: fps / seconds, gbps: (bytes * 8) / 1e9 / seconds } : { fps: 0, gbps: 0 };
}

/** The cable, one way: what the far end sends, or what comes out. */
export function cableFlow(grown: Snapshot, seconds: number, way: Way): Flow {
  const sent: Count[] = [
    { kind: 'cable', frames: 'sentFrames', bytes: 'sentBytes' },
    { kind: 'cable', frames: 'stationFrames', bytes: 'stationBytes' },
  ];
  return flowOf(grown, seconds, way.out ? [{ kind: 'egress', frames: 'frames', bytes: 'bytes' }] : sent, inNic);
}
