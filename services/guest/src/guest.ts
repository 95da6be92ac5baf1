/** The guest: an unprivileged domain with one vif, a network stack and an application. Puts the parts together. */
import { CPU_CONTROL, GUEST_CPU, slots } from '@grantline/machine';
import { Secret, NET_COUNTERS, TCP_APP_COUNTERS } from '@grantline/tcpip';
import { GuestNet } from './data/guest-net.js';
import { GuestApps } from './control/guest-apps.js';
import { txUsers, type VifHost } from './control/vif-host.js';
import { parseIp, parseMac } from '@grantline/frames';
import { NETFRONT_COUNTERS, NETFRONT_TX_COUNTERS, WEB_COUNTERS, DRIVER_COUNTERS, RxProbe } from '@grantline/observe';
import { VIF_DEV, vifName } from '@grantline/xen';
import { addSender, startService, addRecordRoutes, keepRecorded } from '@grantline/service';
import { makeReceiver } from '@grantline/measure';
import { AppControl } from './control/app-control.js';
import { addPoolRoute, keepPool } from './control/pool-api.js';
import { FrontVif, readOwnAddress } from './control/front-vif.js';
import { TapGuest, openGuestTap } from './control/tap-guest.js';
import { PagePool } from './data/page-pool.js';

/** Addresses only: memory, event pages, counters, and what the applications keep (256 MiB when all is recorded). */
const SPACE_BYTES = 576 << 20;

/** Runs until its lifeline ends it. @throws UsageError for what the user can put right */
export async function runGuest(): Promise<void> {
  const cpu = slots(GUEST_CPU);
  const service = await startService({
    kind: 'guest',
    spaceBytes: SPACE_BYTES,
    components: GUEST_CPU,
    whilePrivileged: openGuestTap,
  });
  const { domid, mem, space, counters, xenstore, grants, client, channels, loop, log, http, meter } = service;
  const labels = { vif: vifName(domid, VIF_DEV) };
  const pages = new PagePool(mem, service.memory, service.memoryPages);
  const own = await readOwnAddress(xenstore, domid);
  const addresses = { macs: [parseMac(own.mac)], ips: [parseIp(own.ip)] };
  const { stack, apps } = makeReceiver(space, counters, labels.vif, addresses);

  const components = { device: cpu.netfront, application: cpu.application };
  const sender = addSender(service, labels, components, apps.respond);
  const web = new GuestApps();
  const net = new GuestNet({
    space,
    secret: Secret.fresh(),
    address: {
      mac: addresses.macs[0],
      ip: addresses.ips[0],
      prefix: own.prefix,
      ...(own.gateway === null ? {} : { gateway: parseIp(own.gateway) }),
    },
    counters: counters.block(NET_COUNTERS, labels),
    meter,
    components: { ...components, stack: cpu.stack },
    wake: () => loop.schedule(net),
    onEvents: () => {
      // Node's streams go on in ticks and promises, which run between the loop's turns.
      if (web.connections > 0) loop.leave();
    },
  });
  stack.others = net;
  // Pollers: who sends, the stack, a kernel's device, then the vif's queues as they come (host.loop); a batch each, so that whatever
  // comes in leaves the others their turn. Ends: the vif first, then the applications behind it.
  service.add({
    poller: net,
    dueUs: () => net.dueUs(),
    // A turn makes a megabyte of bodies: a slice of the data path's, or a sleep of its own, between two of them would be all that they wait for.
    sockets: () => web.awaitsTurn,
    between: () => (web.connections > 0 ? cpu.application : CPU_CONTROL),
    dump: { net: () => ({ ...net.describe(), connections: web.connections }) },
    stop: () => web.close(),
  });
  await web.serve(
    net.stack,
    `guest${domid}`,
    counters.block(TCP_APP_COUNTERS, labels),
    counters.block(WEB_COUNTERS, labels),
  );

  const device = service.privileged;
  const kernel = device === null ? null : new TapGuest({ ...service, labels }, device);
  service.add(kernel?.part ?? { dump: { tap: () => null } });
  const probe = service.captures.probe('guest', labels.vif);
  const probes = { rx: new RxProbe(probe), tx: probe };
  stack.probe = net.probe = probes.rx;
  if (kernel !== null) kernel.sink.probe = probes.rx;

  const host: VifHost = {
    probes,
    domid,
    mem,
    pages,
    grants,
    client,
    xenstore,
    channels,
    loop,
    laps: meter,
    netfront: counters.block(NETFRONT_COUNTERS, labels),
    driver: counters.block(DRIVER_COUNTERS, labels),
    netfrontTx: counters.block(NETFRONT_TX_COUNTERS, labels),
    sender: kernel?.source ?? txUsers(sender, net),
    log,
    after(ms, then) {
      const timer = setTimeout(then, ms);
      return () => clearTimeout(timer);
    },
    sink(lro) {
      stack.lroOn = net.lro = lro;
      if (kernel === null) return stack;
      kernel.sink.lro = lro;
      return kernel.sink;
    },
  };
  const vif = new FrontVif(host, () => void application.announce());
  const application = new AppControl({
    ...{ domid, xenstore, stack, apps, own, sender, log },
    onRun: (run) => (stack.takesAll = run.mode === 'record'),
    vifReady: () => vif.ready,
  });
  service.session.keep(keepPool(vif));
  service.session.keep(keepRecorded(stack, apps.record));
  addRecordRoutes(http, apps.record);
  addPoolRoute(http, vif);
  service.add({
    dump: {
      memory: () => ({ freePages: pages.free, quarantinedPages: pages.quarantined, freeGrants: grants.free }),
      vif: () => vif.describe(),
      application: () => application.describe(),
    },
    gauges: () => [{ family: 'grantline_pool_grants', labels, value: vif.connection?.pool?.added ?? 0 }],
    stop: () => vif.end(),
  });
  await vif.begin();
  // Runs are measured in the own stack: a guest whose stack is a kernel never gets ready for one.
  if (kernel === null) await application.begin();
  await service.open();
}
