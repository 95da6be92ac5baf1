/** Every counter of the testbed. Each is declared once, with all that is said of it (declare.ts), in the file of who counts it;
 *  by the kind of block that it stands in, it is here. */
import { type Declared, CPU_COUNTERS, LOOP_COUNTERS } from '@grantline/machine';
import * as driverDomain from './driver-domain.js';
import * as everyService from './every-service.js';
import * as guest from './guest.js';
import * as hypervisor from './hypervisor.js';
import * as nic from './nic.js';
import { NET_COUNTERS, TCP_APP_COUNTERS } from '@grantline/tcpip';

/** Each declaration under its name. */
export const DECLARED = {
  ...driverDomain,
  ...everyService,
  ...guest,
  ...hypervisor,
  ...nic,
  CPU_COUNTERS,
  LOOP_COUNTERS,
  NET_COUNTERS,
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
