/** Which counter of requests, responses and injected faults is shown as which metric: see metrics-counters.ts. */
import type { FAULTS_COUNTERS, REQUESTER_COUNTERS, RESPONDER_COUNTERS } from './names.js';
import type { Shown, Target } from './metrics-counters.js';
import type { FamilyName } from './metrics-families.js';
import type { Labels } from './metrics-family.js';

type Table<N extends readonly string[]> = { readonly [K in N[number]]: Shown };

const to = (family: FamilyName, labels: Labels = {}): [Target] => [{ family, labels, scale: 1 }];
const hidden = (why: string): Shown => ({ hidden: why });
const asked = (op: string): [Target] => to('grantline_requests_total', { op });
const answer = (op: string): [Target] => to('grantline_responses_total', { op });
/** A request that is not answered is a dropped frame, too. */
const refused = (reason: string): Target[] => [
  ...answer(reason),
  ...to('grantline_dropped_frames_total', { component: 'responder', reason }),
];
const fault = (op: string): [Target] => to('grantline_injected_faults_total', { op });
const LEVEL = 'a level, not a count: the dump of the nic tells it';

export const requester: Table<typeof REQUESTER_COUNTERS> = {
  requests: asked('sent'),
  answered: asked('answered'),
  timeouts: asked('timed_out'),
  late: asked('late'),
  repeated: asked('repeated'),
  inFlight: hidden(LEVEL),
};

export const responder: Table<typeof RESPONDER_COUNTERS> = {
  requests: answer('received'),
  responses: answer('answered'),
  responseBytes: hidden('the same bytes as the device sends'),
  copies: to('grantline_copies_total', { component: 'application' }),
  dropCorrupt: refused('corrupt'),
  dropNoDevice: refused('no_device'),
  dropNoRoom: refused('no_room'),
};

/** The same for both directions, which are labels of the block. */
export const faults: Table<typeof FAULTS_COUNTERS> = {
  frames: hidden('the same frames as on the cable'),
  lost: fault('lost'),
  duplicated: fault('duplicated'),
  corrupted: fault('corrupted'),
  headersHit: hidden('a part of the corrupted'),
  reordered: fault('reordered'),
  delayed: fault('delayed'),
  undone: fault('undone'),
  full: fault('full'),
  held: hidden(LEVEL),
};
