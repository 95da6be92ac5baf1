/** Every counter of the testbed. Each is declared once, with all that is said of it (declare.ts), in the file of who counts it,
 *  or here where that is several services; by the kind of block that it stands in, it is here. */
import { counters, dropOf, RX, shown, TX, CPU_COUNTERS, LOOP_COUNTERS, type Declared } from '@grantline/machine';
import { NET_COUNTERS, TCP_APP_COUNTERS } from '@grantline/tcpip';
import * as driverDomain from './driver-domain.js';
import * as guest from './guest.js';
import * as hypervisor from './hypervisor.js';
import * as nic from './nic.js';

// What stands beside the path: captures, TAP devices.

/** Captures of one hop (docs/wire/capture.md). frames and bytes: what was put into the ring of a capture, each capture's own
 *  counted; overflow: frames that found it full. Labels: hop. */
export const CAPTURE_COUNTERS = counters('capture', 'hop', {
  frames: shown('grantline_capture_frames_total'),
  bytes: shown('grantline_capture_bytes_total'),
  overflow: shown('grantline_capture_overflow_frames_total'),
});

const drop = dropOf({ outside: 'nobody knows what a kernel meant to send, or took from its device' });
/** A TAP device. to, from: seen from the kernel behind it, which is tx and rx for the testbed. Packets may be as long as 64 KiB;
 *  frames are what they would be, or were, on the wire. Labels: device ('far' or a vif name). */
export const TAP_COUNTERS = counters('tap', 'device', {
  toPackets: shown('grantline_tap_packets_total', TX),
  toFrames: shown('grantline_tap_frames_total', TX),
  toBytes: shown('grantline_tap_bytes_total', TX),
  fromPackets: shown('grantline_tap_packets_total', RX),
  fromFrames: shown('grantline_tap_frames_total', RX),
  fromBytes: shown('grantline_tap_bytes_total', RX),
  /** Frames that the kernel did not take: the device is down, or memory is short. */
  dropRefused: drop,
  /** Packets from the kernel whose vnet header contradicts them. */
  dropMalformed: drop,
});

/** Each declaration under its name. */
export const DECLARED = {
  ...driverDomain,
  ...guest,
  ...hypervisor,
  ...nic,
  CAPTURE_COUNTERS,
  CPU_COUNTERS,
  LOOP_COUNTERS,
  NET_COUNTERS,
  TAP_COUNTERS,
  TCP_APP_COUNTERS,
};
type All = Extract<(typeof DECLARED)[keyof typeof DECLARED], Declared>;
export type CounterKind = All['kind'];
/** Names of the counters of that kind. */
export type CounterName<K extends CounterKind> = Extract<All, { kind: K }>['names'][number];

/** By kind of block. Latency blocks are no counters: shared/machine/src/counters/latency.ts. */
export const COUNTERS: ReadonlyMap<string, Declared> = new Map(
  Object.values(DECLARED).flatMap((one): [string, Declared][] => ('counters' in one ? [[one.kind, one]] : [])),
);
