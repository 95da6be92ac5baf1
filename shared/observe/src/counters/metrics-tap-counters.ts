/** Which counter of a TAP device is shown as which metric: see metrics-counters.ts. rx and tx are the testbed's view of the
 *  kernel: rx is what it reads from it. */
import type { TAP_COUNTERS } from './names.js';
import type { Shown, Target } from './metrics-counters.js';
import type { FamilyName } from './metrics-families.js';
import type { Labels } from './metrics-family.js';

const to = (family: FamilyName, labels: Labels): [Target] => [{ family, labels, scale: 1 }];
const RX = { direction: 'rx' } as const;
const TX = { direction: 'tx' } as const;
const drop = (reason: string): [Target] => to('grantline_dropped_frames_total', { component: 'tap', reason });

export const tap: { readonly [K in (typeof TAP_COUNTERS)[number]]: Shown } = {
  toPackets: to('grantline_tap_packets_total', TX),
  toFrames: to('grantline_tap_frames_total', TX),
  toBytes: to('grantline_tap_bytes_total', TX),
  fromPackets: to('grantline_tap_packets_total', RX),
  fromFrames: to('grantline_tap_frames_total', RX),
  fromBytes: to('grantline_tap_bytes_total', RX),
  dropRefused: drop('refused'),
  dropMalformed: drop('malformed'),
};
