/** The driver domain: owns the NIC's driver, the software bridge, and one netback for each vif. */
import { DOMID_NIC, MAX_GUESTS, type DomId, nowNs } from '@grantline/base';
import { VIF_DEV, vifName } from '@grantline/xen';
import { slots, pinToCore, DRIVER_DOMAIN_CPU } from '@grantline/machine';
import { BRIDGE_COUNTERS, DRIVER_COUNTERS, NETFRONT_TX_COUNTERS } from '@grantline/observe';
import { GrantWindow, PeerMemory } from './control/window.js';
import { addSender, startService, addRecordRoutes, keepRecorded, runMain } from '@grantline/service';
import { makeReceiver } from '@grantline/measure';
import { DRIVER_BUFFERS, DefaultQueue } from './control/default-queue.js';
import type { Host, QueueHost } from './control/host.js';
import { NativeControl } from './control/native-control.js';
import { prepareNativeSend, NativeSender } from './control/native-sender.js';
import { Pages, dmaMap } from './control/pages.js';
import { Uplink } from './control/uplink.js';
import { Vifs } from './control/vifs.js';
import { Bridge } from './data/bridge/bridge.js';
import { Buffers, FOREIGN_PAGES, ForeignFrames } from './data/bridge/buffers.js';
import { LocalSwitch } from './data/tx/local-switch.js';
import { POOL_CAP } from './data/grants/grant-pool.js';
import { MAX_PENDING } from './data/tx/tx-requests.js';

/** Addresses only: memory, window, counters, event pages, and what the applications of `native` keep. */
const SPACE_BYTES = 960 << 20;
/** Mappings of one vif at most: its pools, packets that are mapped one by one, its rings, the list page. */
const WINDOW_SLOTS = MAX_GUESTS * (2 * POOL_CAP + MAX_PENDING + 8);
const TICK_MS = 1000;
/** The same while frames wait for a guest. */
const BUSY_TICK_MS = 100;

void runMain('driver-domain', async () => {
  const s = await startService({ kind: 'driver-domain', spaceBytes: SPACE_BYTES, components: DRIVER_DOMAIN_CPU });
  const { env, domid, mem, space, counters, xenstore, client, channels, loop, log, http, meter } = s;

  const pages = new Pages(mem, s.memory, s.memoryPages);
  const first = pages.alloc(DRIVER_BUFFERS);
  const dpn = await dmaMap(client, first, DRIVER_BUFFERS);
  const buffers = new Buffers(pages.offset(first), first, DRIVER_BUFFERS);
  const bridge = new Bridge(mem, buffers, counters.block(BRIDGE_COUNTERS));
  const window = new GrantWindow(space, new PeerMemory(client), WINDOW_SLOTS);
  const driver = counters.block(DRIVER_COUNTERS);
  const foreignPages = pages.alloc(FOREIGN_PAGES);
  const foreign = new ForeignFrames(pages.offset(foreignPages), foreignPages);
  buffers.foreign = foreign;
  const queueHost: QueueHost = {
    ...{ domid, mem, pages, client, xenstore, channels, window, loop, meter, counters, driver, buffers, bridge, log },
    local: new LocalSwitch(mem, bridge, foreign),
    probeOf: (guest: DomId) => s.captures.probe('bridge', vifName(guest, VIF_DEV)),
  };
  const uplink = new Uplink(queueHost, driver);
  const queue = new DefaultQueue(queueHost, dpn);
  const host: Host = { ...queueHost, uplink, refill: () => queue.driver?.refill() };
  // It stands for the applications of all guests.
  const { stack, apps } = makeReceiver(space, counters, 'native', { macs: [], ips: [], promiscuous: true });
  const cpu = slots(DRIVER_DOMAIN_CPU);
  const labels = { vif: 'native' };
  const components = { device: cpu.driver, application: cpu.application };
  const send = addSender(s, labels, components, apps.respond);
  const sender = new NativeSender(queueHost, send, counters.block(NETFRONT_TX_COUNTERS, labels));
  const native = new NativeControl({
    ...{ domid, xenstore, queue, stack, apps, driver, sender, log },
    prepareSend: (text) => prepareNativeSend(xenstore, send, text),
    place: (isNative) => {
      const core = isNative ? env.nativeCore : env.core;
      if (core !== null) pinToCore(core);
    },
  });
  const vifs = new Vifs(host, native);
  native.onChange = () => vifs.lookAll();

  // Pollers: the sending application, the uplink, then the default queue and the vifs as they come (host.loop): what the uplink has
  // sent gives its room back before vifs take more from their guests, each vif a batch of its own. Ends: vifs first, since they use
  // all that stands before them.
  s.add({ dump: { defaultQueue: () => queue.describe() }, ready: () => queue.attached, stop: () => queue.end() });
  s.add({ dump: { native: () => native.describe() }, stop: () => sender.stop() });
  s.add({ dump: { uplink: () => uplink.describe() }, ready: () => uplink.attached, stop: () => uplink.end() });
  s.add({ dump: { vifs: () => vifs.describe() }, gauges: () => vifs.readings(), stop: () => vifs.end() });
  s.add({
    dump: {
      bridge: () => bridge.entries(nowNs()),
      memory: () => ({ freePages: pages.free, freeWindowSlots: window.free }),
    },
    // First of all: a vif may be waiting for one of them.
    stop: () => {
      for (const waiting of [native, queue, sender, uplink]) waiting.giveUp();
    },
  });
  client.onEvent<{ domid: DomId }>('domain.gone', (e) => {
    if (e.domid === DOMID_NIC) {
      // The default queue first: no vif makes an offer before it is there again.
      native.nicGone();
      uplink.nicGone();
      vifs.nicGone();
    }
    void vifs.domainGone(e.domid);
  });
  let ticks: NodeJS.Timeout;
  const tick = (): void => {
    // Not the meter's time: that stands still while there is nothing to do.
    const now = nowNs();
    bridge.sweep(now);
    uplink.tick(now);
    ticks = setTimeout(tick, vifs.tick(now) ? BUSY_TICK_MS : TICK_MS);
  };
  tick();
  s.add({ stop: () => clearTimeout(ticks) });
  s.session.keep(keepRecorded(stack, apps.record));
  addRecordRoutes(http, apps.record);

  void uplink.begin();
  await native.begin();
  await vifs.begin();
  await s.open();
});
