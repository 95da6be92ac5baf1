/** The NIC and the cable into it, as a service. README.md */
import { setFlagsFromString } from 'node:v8';
import { NIC_CPU, standBehind, setTimerSlackNs, LATENCY } from '@grantline/machine';
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
import { Attachments } from './hardware/control/attachments.js';
import { addFaultApi, addSinkApi } from './far-end/control/cable-api.js';
import { addEdgeApi, addStreamApi } from './far-end/control/station-api.js';
import { makeStation, openFarTap } from './far-end/control/stations.js';
import { addLoadApi, addRequestApi } from './far-end/control/load-api.js';
import { Loads, SENDER_MAC } from './far-end/control/loads.js';
import { Requests } from './far-end/control/requests.js';
import { Cable } from './far-end/data/cable.js';
import { CableInjector } from './far-end/data/cable-faults.js';
import { CableOut, NOBODY } from './hardware/data/cable-out.js';
import { FarEndSwitch } from './far-end/data/station.js';
import { BurstGuard, DmaReader } from './hardware/data/dma.js';
import { MacProbe } from './hardware/data/mac-probe.js';
import { Nic } from './hardware/data/nic.js';
import { NicTx } from './hardware/data/nic-tx.js';
import { Sink } from './far-end/data/sink.js';

/** Room for the memory of all domains, the templates and a capture. Reserving costs nothing. */
const SPACE_BYTES = 640 << 20;
/** Timed sleeps end within a microsecond of what was asked: a wake-up 50 us late is 40 full frames at 10 Gb/s. */
const TIMER_SLACK_NS = 1000;

// What clients of the edge send comes in buffers outside of V8's heap: marking in steps is paid for with each of them (docs/adr/0026).
setFlagsFromString('--no-incremental-marking');

void runMain('nic', async () => {
  const s = await startService({
    kind: 'nic',
    spaceBytes: SPACE_BYTES,
    components: NIC_CPU,
    whilePrivileged: openFarTap,
  });
  const { space, mem, counters, meter, loop, http, log, client } = s;
  setTimerSlackNs(TIMER_SLACK_NS);
  // Before there is anything to write to.
  standBehind(await client.descriptor('fence'));
  const dma = new DmaReader(mem, space.mapWhole(await client.descriptor('dma-table'), DMA_TABLE_BYTES, false));
  const guard = new BurstGuard(mem, space.mapWhole(await client.descriptor('dma-burst'), PAGE_SIZE, true));
  const nic = new Nic(mem, guard, counters.block(NIC_COUNTERS));
  const cable = new Cable(nic, meter, counters.block(CABLE_COUNTERS));
  const cableOut = new CableOut(counters.block(EGRESS_COUNTERS));
  const nicTx = new NicTx(space, nic, cableOut, meter);
  const far = { far: 'cable' };
  const sink = new Sink(space, {
    stack: counters.block(STACK_COUNTERS, far),
    app: counters.block(APP_COUNTERS, far),
    latency: counters.block(LATENCY, far),
  });
  const macProbe = new MacProbe(mem);
  nic.probe = cableOut.probe = macProbe;
  s.captures.onProbe = (probe, vif, mac) => {
    if (mac !== undefined) macProbe.add(probe, vif, mac);
  };
  const farEnd = makeStation({ ...s, cable, tap: s.privileged });
  const { station, edge, outer, streams } = farEnd;
  const { counters: egress } = cableOut;
  const sinkMac = parseMac(SENDER_MAC);
  cableOut.farEnd = new FarEndSwitch({ mem, sink, mac: sinkMac, station: station ?? NOBODY, counters: egress, meter });
  const faultCounters = {
    in: counters.block(FAULTS_COUNTERS, { direction: 'in' }),
    out: counters.block(FAULTS_COUNTERS, { direction: 'out' }),
  };
  const injector = new CableInjector({ space, cable, out: cableOut, counters: faultCounters });
  const wakeInjector = (): void => loop.schedule(injector);
  const loads = new Loads(space, cable, loop);
  const requests = new Requests({ space, cable, loop, sink, counters: counters.block(REQUESTER_COUNTERS), loads });
  const attachments = new Attachments({
    ...{ client, channels: s.channels, space, counters, log, dma, nic, nicTx },
    // The sender is on the loop's list whenever the loop sleeps (Loads.dueUs): a ring is enough to make it look.
    onDriver: () => {
      if (nicTx.held) loop.schedule(nicTx);
      loop.kick();
    },
    onSender: () => loop.schedule(nicTx),
    onGuest: (domid, ip, mac) => {
      outer?.stack.arp.give(parseIp(ip), parseMac(mac));
      void edge?.add(domid, ip);
    },
    onGuestGone: (domid, ip) => {
      outer?.stack.arp.give(parseIp(ip), null);
      void edge?.remove(domid);
    },
  });

  // Pollers: what guests have sent leaves first, and the station behind it answers in the same round; the sender of a load comes
  // behind them all (Loads), a batch each, so that a load at full speed leaves the others their turn. Ends: nobody sends any more
  // when queues are taken off.
  s.add({ gauges: () => attachments.readings(), stop: () => attachments.close() });
  s.add({ dump: { load: () => loads.status() }, dueUs: () => loads.dueUs(), stop: () => loads.stop() });
  s.add({ dump: { requests: () => requests.status() }, dueUs: () => requests.dueUs(), stop: () => requests.end() });
  s.add({
    dump: { link: () => ({ gbps: cable.gbps, outGbps: cableOut.gbps }) },
    gauges: () => [{ family: 'grantline_link_bytes_per_second', value: ((cable.gbps ?? 0) * 1e9) / 8 }],
  });
  s.add({
    poller: nicTx,
    dueUs: () => nicTx.dueUs(),
    dump: { queues: () => [...nic.describe(), ...nicTx.describe()] },
  });
  s.add({ poller: injector, dueUs: () => injector.dueUs() });
  s.add(farEnd.part);
  s.add({ dump: { edge: () => edge?.describe() ?? null }, stop: () => edge?.close() });

  addLoadApi(http, loads);
  addRequestApi(http, requests);
  addFaultApi(http, injector, faultCounters, wakeInjector);
  addSinkApi(http, sink, cableOut);
  addEdgeApi(http, edge);
  addStreamApi(http, farEnd, loads, (gbps) => {
    cable.setSpeed(gbps);
    cableOut.setSpeed(gbps);
  });
  // What sessions change, and what puts it back (docs/wire/control-plane.md section 11): load of every kind stops when a session
  // begins, and goes on after it.
  s.session.keep(() => {
    const { link } = cable;
    const { gbps } = cableOut;
    const faults = injector.settings;
    const capture = loads.keepCapture();
    const suspended = [loads.suspend(), requests.suspend(), streams?.suspend() ?? null];
    return {
      ending() {
        loads.stop();
        requests.end();
        streams?.stop();
        capture();
        cable.restore(link);
        cableOut.setSpeed(gbps);
        if (JSON.stringify(faults) !== JSON.stringify(injector.settings)) injector.set(faults);
        wakeInjector();
      },
      over() {
        for (const resume of suspended) resume?.();
      },
    };
  });
  await attachments.settled();
  await s.open();
});
