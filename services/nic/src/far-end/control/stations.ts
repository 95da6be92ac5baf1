/** Which station stands at the far end: chosen once, at the start, by GRANTLINE_FAR_END. */
import { NETWORK_PREFIX, OUTER_IP, OUTER_MAC, UsageError } from '@grantline/base';
import {
  CPU_CONTROL,
  NIC_CPU,
  openTapOr,
  slots,
  type CounterFile,
  type AddressSpace,
  type DataLoop,
  type Doorbell,
  type TapDevice,
  type Logs,
  type Laps,
} from '@grantline/machine';
import { parseMac, parseIp } from '@grantline/frames';
import { Secret, NET_COUNTERS, TCP_APP_COUNTERS } from '@grantline/tcpip';
import { EDGE_COUNTERS, TAP_COUNTERS } from '@grantline/observe';
import { tapIsGone, tapSource } from '@grantline/measure';
import type { Part, ServiceEnv } from '@grantline/service';
import type { Cable } from '../data/cable.js';
import { OuterStack } from '../data/outer-stack.js';
import type { Station } from '../data/station.js';
import { TapStation } from '../data/tap-station.js';
import { Pinger, Streams } from './streams.js';
import { Edge } from './edge.js';

const CPU = slots(NIC_CPU);

/** What a station may use. */
export interface StationHost {
  env: ServiceEnv;
  space: AddressSpace;
  counters: CounterFile;
  cable: Cable;
  meter: Laps;
  log: Logs<'warn' | 'error'>;
  loop: Pick<DataLoop, 'schedule'>;
  doorbell: Doorbell;
  /** The device, with farEnd of kind 'tap'. */
  tap: TapDevice | null;
}

export interface FarEndParts {
  station: Station | null;
  /** With the stack only. */
  edge: Edge | null;
  streams: Streams | null;
  pinger: Pinger | null;
  outer: OuterStack | null;
  /** The station, as a part of the service. */
  part: Part;
}

/** Makes the device that the environment asks for; the rights for it go afterwards. @throws UsageError */
export function openFarTap(env: ServiceEnv): TapDevice | null {
  const { farEnd, tapOffload } = env;
  if (farEnd.kind !== 'tap') return null;
  const ip = { address: OUTER_IP, prefix: NETWORK_PREFIX };
  return openTapOr(
    { name: farEnd.name, netns: farEnd.netns, mac: OUTER_MAC, keepMac: true, ip, offload: tapOffload },
    ({ what, todo }) => new UsageError(`${what}: ${todo}`),
  );
}

/** Its sockets and deadlines are the loop's. @param lost why it is of no use any more; null: it is of use */
function partOf(station: Station, meter: StationHost['meter'], lost: () => string | null): Part {
  return {
    poller: station,
    dueUs: () => Math.max(0, (station.dueAtNs() - meter.now) / 1000),
    sockets: () => station.waiting,
    between: () => (station.waiting ? CPU.outer : CPU_CONTROL),
    ready: () => lost() ?? true,
    dump: { farEnd: () => ({ station: station.name, ...station.describe() }) },
    stop: () => station.close(),
  };
}

function makeTap(host: StationHost): Pick<FarEndParts, 'station' | 'part'> {
  const { space, cable, meter, tap, doorbell, log } = host;
  if (tap === null) throw new Error('the device was not made');
  const source = tapSource(tap, () => host.loop.schedule(station), log);
  doorbell.source = source;
  const counters = host.counters.block(TAP_COUNTERS, { device: 'far' });
  const station: TapStation = new TapStation({ space, cable, tap, counters, meter, source });
  return { station, part: partOf(station, meter, () => (source.stands ? null : tapIsGone(tap.name))) };
}

/** @throws UsageError for what the user can put right */
export function makeStation(host: StationHost): FarEndParts {
  const choice = host.env.farEnd;
  const none = { edge: null, streams: null, pinger: null, outer: null };
  if (choice.kind === 'none') return { station: null, ...none, part: { dump: { farEnd: () => null } } };
  if (choice.kind === 'tap') return { ...none, ...makeTap(host) };
  const wake = (): void => host.loop.schedule(outer);
  const outer: OuterStack = new OuterStack({
    space: host.space,
    cable: host.cable,
    meter: host.meter,
    secret: Secret.fresh(),
    address: { mac: parseMac(OUTER_MAC), ip: parseIp(OUTER_IP), prefix: NETWORK_PREFIX },
    counters: host.counters.block(NET_COUNTERS, { stack: 'outer' }),
    wake,
  });
  const edge = new Edge({
    stack: outer.stack,
    listen: host.env.edge,
    log: host.log,
    counters: host.counters.block(EDGE_COUNTERS),
  });
  const appCounters = host.counters.block(TCP_APP_COUNTERS, { stack: 'outer' });
  const streams = new Streams(outer.stack, appCounters);
  const pinger = new Pinger(outer.stack, wake);
  outer.sockets = () => edge.connections > 0;
  return { station: outer, edge, streams, pinger, outer, part: partOf(outer, host.meter, () => null) };
}
