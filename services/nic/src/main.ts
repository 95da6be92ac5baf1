/** The NIC and the cable into it, as a service. README.md */
import { CPU_CONTROL, slots, NIC_CPU, standBehind, setTimerSlackNs, type TapDevice, LATENCY } from '@grantline/machine';
import { DMA_TABLE_BYTES } from '@grantline/xen';
import { PAGE_SIZE } from '@grantline/base';
import {
  CABLE_COUNTERS,
  EGRESS_COUNTERS,
  FAULTS_COUNTERS,
  NIC_COUNTERS,
  REQUESTER_COUNTERS,
  APP_COUNTERS,
  STACK_COUNTERS,
} from '@grantline/observe';
import { parseMac, parseIp } from '@grantline/frames';
import { startService, runMain } from '@grantline/service';
import { Attachments } from './hardware/control/attach.js';
import { addEdgeApi } from './far-end/control/edge-api.js';
import { addStreamApi } from './far-end/control/stream-api.js';
import { makeStation, openFarTap } from './far-end/control/stations.js';
import { addLoadApi } from './far-end/control/load-api.js';
import { keepNic } from './far-end/control/found.js';
import { Loads, SENDER_MAC } from './far-end/control/loads.js';
import { addFaultApi } from './far-end/control/fault-api.js';
import { addRequestApi } from './far-end/control/request-api.js';
import { Requests } from './far-end/control/requests.js';
import { addSinkApi } from './far-end/control/sink-api.js';
import { Cable } from './far-end/data/cable.js';
import { CableInjector } from './far-end/data/cable-faults.js';
import { CableOut, NOBODY } from './hardware/data/cable-out.js';
import { FarEndSwitch } from './far-end/data/far-end.js';
import type { Station } from './far-end/data/station.js';
import { BurstGuard, DmaTable } from './hardware/data/dma.js';
import { MacTap } from './hardware/data/mac-tap.js';
import { Nic } from './hardware/data/nic.js';
import { NicTx } from './hardware/data/nic-tx.js';
import { Sink } from './far-end/data/sink.js';

/** Room for the memory of all domains, the templates and a capture. Reserving costs nothing. */
const SPACE_BYTES = 640 << 20;
/** Timed sleeps end within a microsecond of what was asked: a wake-up 50 us late is 40 full frames at 10 Gb/s. */
const TIMER_SLACK_NS = 1000;

const CPU = slots(NIC_CPU);

await runMain('nic', async () => {
  let loads: Loads | null = null;
  let requests: Requests | null = null;
  let station: Station | null = null;
  let tap: TapDevice | null = null;
  let wireDueUs = (): number => Infinity;
  let faultsDueUs = (): number => Infinity;
  let stationDueUs = (): number => Infinity;
  let lost = (): string | null => null;
  const s = await startService({
    kind: 'nic',
    spaceBytes: SPACE_BYTES,
    components: NIC_CPU,
    dump: () => ({
      load: loads?.status() ?? null,
      requests: requests?.status() ?? null,
      link: { gbps: cable.gbps, outGbps: cableOut.gbps },
      queues: [...nic.describe(), ...nicTx.describe()],
      edge: edge === null ? null : { connections: edge.connections, heldBytes: edge.heldBytes },
      farEnd: station === null ? null : { station: station.name, ...station.describe() },
    }),
    gauges: () => [
      ...attachments.readings(),
      { family: 'grantline_link_bytes_per_second', value: ((cable.gbps ?? 0) * 1e9) / 8 },
    ],
    dueUs: () =>
      Math.min(loads?.dueUs() ?? Infinity, requests?.dueUs() ?? Infinity, wireDueUs(), stationDueUs(), faultsDueUs()),
    ready: () => lost() ?? true,
    whilePrivileged: (env) => void (tap = openFarTap(env)),
    sockets: () => station?.waiting === true,
    between: () => (station?.waiting === true ? CPU.outer : CPU_CONTROL),
  });
  setTimerSlackNs(TIMER_SLACK_NS);
  // Before there is anything to write to.
  standBehind(await s.client.descriptor('fence'));
  const dma = new DmaTable(s.mem, s.space.mapWhole(await s.client.descriptor('dma-table'), DMA_TABLE_BYTES, false));
  const guard = new BurstGuard(s.mem, s.space.mapWhole(await s.client.descriptor('dma-burst'), PAGE_SIZE, true));
  const nic = new Nic(s.mem, guard, s.counters.block(NIC_COUNTERS));
  const cable = new Cable(nic, s.meter, s.counters.block(CABLE_COUNTERS));
  const cableOut = new CableOut(s.counters.block(EGRESS_COUNTERS));
  const nicTx = new NicTx(s.space, s.mem, guard, nic, cableOut, s.meter);
  wireDueUs = () => {
    if (nicTx.dueAtNs === Infinity) return Infinity;
    nicTx.scheduled = true;
    return Math.max(0, (nicTx.dueAtNs - s.meter.now) / 1000);
  };
  const far = { far: 'cable' };
  const sink = new Sink(s.space, {
    stack: s.counters.block(STACK_COUNTERS, far),
    app: s.counters.block(APP_COUNTERS, far),
    latency: s.counters.block(LATENCY, far),
  });
  const macTap = new MacTap(s.mem);
  nic.tap = cableOut.tap = macTap;
  s.captures.onTap = (tap, vif, mac) => {
    if (mac !== undefined) macTap.add(tap, vif, mac);
  };
  const parts = makeStation({
    ...{
      env: s.env,
      space: s.space,
      counters: s.counters,
      cable,
      meter: s.meter,
      log: s.log,
      doorbell: s.doorbell,
      tap,
    },
    wake: () => {
      if (station !== null) s.loop.schedule(station);
    },
  });
  const { edge } = parts;
  lost = parts.lost;
  station = parts.station;
  stationDueUs = () => Math.max(0, ((station?.dueAtNs() ?? Infinity) - s.meter.now) / 1000);
  cableOut.farEnd = new FarEndSwitch(s.mem, sink, station ?? NOBODY, parseMac(SENDER_MAC), cableOut.counters, s.meter);
  const faultCounters = {
    in: s.counters.block(FAULTS_COUNTERS, { direction: 'in' }),
    out: s.counters.block(FAULTS_COUNTERS, { direction: 'out' }),
  };
  const injector = new CableInjector({ space: s.space, cable, out: cableOut, counters: faultCounters });
  faultsDueUs = () => injector.dueUs();
  loads = new Loads(s.space, cable, s.loop);
  const requester = s.counters.block(REQUESTER_COUNTERS);
  requests = new Requests({ space: s.space, cable, loop: s.loop, sink, counters: requester, loads });
  const attachments = new Attachments({
    client: s.client,
    channels: s.channels,
    space: s.space,
    counters: s.counters,
    log: s.log,
    dma,
    nic,
    nicTx,
    // The sender is on the loop's list whenever the loop sleeps (Loads.dueUs): a ring is enough to make it look.
    onDriver: () => {
      if (nicTx.held) s.loop.schedule(nicTx);
      s.loop.kick();
    },
    onSender: () => s.loop.schedule(nicTx),
    onGuest: (domid, ip, mac) => {
      parts.outer?.stack.arp.give(parseIp(ip), parseMac(mac));
      void edge?.add(domid, ip);
    },
    onGuestGone: (domid, ip) => {
      parts.outer?.stack.arp.give(parseIp(ip), null);
      void edge?.remove(domid);
    },
  });
  s.lifeline.onStop(() => attachments.close());
  s.lifeline.onStop(() => loads?.stop());
  s.lifeline.onStop(() => requests?.end());
  s.lifeline.onStop(() => station?.close());
  s.lifeline.onStop(() => edge?.close());
  s.loop.add(nicTx);
  s.loop.add(injector);
  if (station !== null) s.loop.add(station);
  addLoadApi(s.http, loads);
  addRequestApi(s.http, requests);
  addFaultApi(s.http, injector, faultCounters, () => s.loop.schedule(injector));
  addSinkApi(s.http, sink, cableOut);
  addEdgeApi(s.http, edge);
  addStreamApi(s.http, parts, loads, (gbps) => {
    cable.setSpeed(gbps);
    cableOut.setSpeed(gbps);
  });
  s.session.keep(
    keepNic({
      ...{ cable, out: cableOut, injector, loads, requests, streams: parts.streams },
      wake: () => s.loop.schedule(injector),
    }),
  );
  await attachments.settled();
  await s.open();
});
