/** TAP devices against the Linux kernel: one at the far end of the cable, two as guests' stacks, beside our own stack in a third. */
import t, { type Test } from 'tap';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { setFaults } from '../../src/control/load-api.js';
import { COMMAND, eventually, succeeded, type Ended } from '../e2e/kit.js';
import { seriesOf, total } from '../e2e/metrics-pages.js';
import { SERVER_PORT } from './peers.js';
import { CONFIG, DEVICES, FAR, FAR_IP, FAR_MAC, IP1, IP2, IP3, MAC1, MAC2, MAC3 } from './tap-bench.js';
import { missing, ONE, TapBench, TWO } from './tap-bench.js';

// The runner's patience ends it.
t.setTimeout(0);

t.test(`kernels at the far end and in two guests (${CONFIG})`, { skip: missing() }, async (t) => {
  const bench = await TapBench.make(t, 'kernels');

  await t.test('what cannot work is one line and exit code 2, and leaves nothing', async (t) => {
    const cases: [RegExp, ...string[]][] = [
      [/names no device/, '--tap', 'a-name-that-is-too-long'],
      [/ip netns add/, '--tap', `gl0,${FAR}-none`],
      [/each its own/, '--tap', `gl0,${FAR}`, '--guest-tap', `gl1,${FAR}`],
      [/guest4/, '--guest-tap', `guest4=gl1,${ONE}`],
      [/another name/, '--tap', `lo,${FAR}`],
      [/no process 2000000000/, '--tap', 'gl0,pid:2000000000'],
      [/is no network namespace/, '--tap', 'gl0,/dev/zero'],
      [/each its own/, '--tap', `gl0,${FAR}`, '--guest-tap', `gl1,/run/netns/${FAR}`],
    ];
    for (const [why, ...taps] of cases) {
      const { code, stderr } = await bench.run('up', '--no-page', '--listen', '127.0.0.1:0', ...taps);
      t.equal(code, 2, stderr);
      t.match(stderr, /^grantline: [^\n]+\n$/, 'one line');
      t.match(stderr, why);
    }
    const nobody = 'env -u GRANTLINE_DIR setpriv --reuid 65534 --regid 65534 --clear-groups';
    const up = [process.execPath, COMMAND, 'up', '--no-page', '--tap', 'gl0'];
    const { code, stderr } = await bench.call(nobody, ...up);
    // 127: there is no setpriv.
    if (code !== 127) t.equal(code, 2, 'without root');
    if (code !== 127) t.match(stderr, /CAP_NET_ADMIN|right/);
    t.same(await bench.left(), []);
  });

  const testbed = await bench.kernels();
  for (const ns of [ONE, FAR]) await bench.serve(ns);
  for (const ns of [ONE, TWO]) bench.stay(ns, 'iperf3 -s');

  await t.test('it says how to reach a guest, and the kernel has the address of its vif', async (t) => {
    t.match(testbed.stdout, `ip netns exec ${FAR} ping ${IP1}`);
    t.match(await bench.must(`ip -n ${ONE} -br link show gl1`), MAC1);
  });

  await t.test('ARP both ways', async (t) => {
    for (const [ns, ip, mac] of [
      [FAR, IP1, MAC1],
      [FAR, IP3, MAC3],
      [ONE, FAR_IP, FAR_MAC],
      [ONE, IP2, MAC2],
      [TWO, IP3, MAC3],
    ]) {
      await bench.call(`ip -n ${ns} neigh flush all`);
      await bench.ping(56, 1, [ns, ip]);
      t.equal(await bench.neighbour(ns, ip), mac, `${ns} ${ip}`);
    }
  });

  await t.test('ping of all sizes, over the MTU in fragments, and none is lost', async () => {
    for (const bytes of [0, 1, 17, 18, 56, 1471, 1472, 1473, 4000, 20000])
      await bench.ping(bytes, 10, [FAR, IP1], [FAR, IP3], [ONE, FAR_IP], [ONE, IP2], [TWO, IP3]);
    await bench.ping(65507, 3, [FAR, IP1]);
    await bench.ping(65507, 3, [ONE, FAR_IP]);
  });

  await t.test('what may not be fragmented fits the MTU or is refused at once', async (t) => {
    await bench.ping(1472, 3, [FAR, IP1, '-M do']);
    const { code, stdout, stderr } = await bench.inside(FAR, `ping -c 1 -M do -s 1473 ${IP1}`);
    t.not(code, 0);
    t.match(stdout + stderr, /too long|too large/i);
  });

  await t.test('curl of 1 B to 100 MB, bodies compared', async () => {
    await bench.fetch(FAR, IP1, 1, 1447, 1448, 1449, 65535, 1_000_000, 100_000_000);
    await bench.fetch(ONE, FAR_IP, 20_000_000);
    await bench.fetch(TWO, IP1, 20_000_000);
  });

  await t.test('uploads, checksums compared', async () => {
    await bench.upload(FAR, IP1, 30_000_000);
    await bench.upload(TWO, IP1, 5_000_000);
  });

  await t.test('200 connections at the same time', async (t) => {
    const list = join(bench.files, 'urls');
    writeFileSync(list, `url = "http://${IP1}:${SERVER_PORT}/bytes/50000"\noutput = /dev/null\n`.repeat(200));
    const line = `curl -sS --no-keepalive --parallel --parallel-immediate --parallel-max 200 -w`;
    const said = succeeded(await bench.inside(FAR, line, '%{http_code} %{size_download}\n', '-K', list));
    t.equal(said, '200 50000\n'.repeat(200));
  });

  await t.test('a closed port is refused at once', async (t) => {
    for (const [ns, ip] of [
      [FAR, IP1],
      [FAR, IP3],
      [ONE, FAR_IP],
      [TWO, IP1],
    ]) {
      const { code, seconds } = await bench.inside(ns, `curl -sS -m 5 http://${ip}:4444/`);
      t.equal(code, 7, ip);
      t.ok(seconds < 2, `${ip}: after ${seconds} s`);
    }
  });

  await t.test("the guest's own stack serves a kernel's client", async (t) => {
    const { code, stdout } = await bench.inside(FAR, `curl -sS -m 10 -w`, '\n%{http_code}', `http://${IP3}/`);
    t.equal(code, 0);
    t.match(stdout, /\n[2-4]\d\d$/);
    const file = join(bench.files, 'own');
    const body = async (): Promise<Buffer> => {
      const line = `curl -sS -m 10 -w %{http_code} http://${IP3}/bytes/1000000 -o`;
      t.equal(succeeded(await bench.inside(FAR, line, file)), '200');
      return readFileSync(file);
    };
    const first = await body();
    t.equal(first.length, 1_000_000);
    t.ok(first.equals(await body()), 'twice the same');
  });

  await t.test('iperf3 both directions, and guest to guest', async (t) => {
    const figures = {
      'to the guest': await bench.iperf(FAR, IP1),
      'from it': await bench.iperf(FAR, IP1, '-t 2 -R'),
      'between two': await bench.iperf(ONE, IP2, '-t 1'),
      'of 0.05 by UDP': await bench.iperf(FAR, IP1, '-t 1 -u -b 50M'),
    };
    for (const [what, gbps] of Object.entries(figures)) t.ok(gbps > 0.01, `${what}: ${gbps}`);
    t.comment(Object.entries(figures).map(([what, gbps]) => `${gbps.toFixed(2)} Gb/s ${what}`).join(', ')); // prettier-ignore
  });

  await t.test('tshark finds no malformed frame and no wrong checksum', async (t) => {
    // A kernel that leaves checksums to the device is seen without them on its own side: for once they do them themselves.
    for (const [ns, device] of DEVICES) succeeded(await bench.inside(ns, `ethtool -K ${device} tx off`));
    const fileOf = (device: string): string => join(bench.files, `${device}.pcap`);
    const dump = 'tcpdump -q -n -U -B 65536';
    const dumps = DEVICES.map(([ns, device]) => bench.stay(ns, `${dump} -i ${device} -w`, fileOf(device)));
    for (const running of dumps) await running.until(/listening/);
    await bench.ping(3000, 5, [FAR, IP1]);
    await bench.fetch(FAR, IP1, 2_000_000);
    await bench.upload(FAR, IP1, 2_000_000);
    await bench.ping(3000, 5, [FAR, IP3]);
    await bench.inside(FAR, `curl -sS -m 10 -o /dev/null http://${IP3}/`);
    await bench.iperf(FAR, IP1, '-t 1 -u -b 20M');
    await sleep(300);
    for (const running of dumps) running.signal('SIGINT');
    await Promise.all(dumps.map((running) => running.ended));
    const checked = ['ip', 'tcp', 'udp'].map((protocol) => `-o ${protocol}.check_checksum:TRUE`).join(' ');
    const wrong = ['ip', 'tcp', 'udp', 'icmp'].map((protocol) => `${protocol}.checksum.status == 0`);
    let frames = 0;
    for (const [, device] of DEVICES) {
      const all = await bench.must(`tshark -T fields -e frame.number -r`, fileOf(device));
      frames += all.split('\n').filter(Boolean).length;
      const bad = ['_ws.malformed', ...wrong].join(' || ');
      t.equal(await bench.must(`tshark ${checked} -Y`, bad, '-r', fileOf(device)), '', device);
    }
    for (const [ns, device] of DEVICES) await bench.inside(ns, `ethtool -K ${device} tx on tso on`);
    t.ok(frames > 500, `${frames} frames and joined packets`);
  });

  await t.test('the same under 1 % loss and reordering', async (t) => {
    const undo = await disturb(t, bench);
    for (const n of [1, 100_000, 5_000_000]) await bench.fetch(FAR, IP1, n);
    await bench.upload(FAR, IP1, 5_000_000);
    await undo();
    await bench.ping(56, 5, [FAR, IP1]);
  });

  await t.test("a guest that claims the gateway's, another guest's or no one's address is refused and counted", (t) =>
    claims(t, bench),
  );

  const vlan = 'type vlan id 5';
  const tagged = await bench.call(`ip -n ${FAR} link add link gl0 name gl0.5 ${vlan}`);
  const skip = tagged.code !== 0 && `this kernel makes none: ${tagged.stderr.trim()}`;
  await t.test('frames with VLAN tags, with offloads', { skip }, async () => {
    await bench.ip(ONE, `link add link gl1 name gl1.5 ${vlan}`);
    for (const [i, [ns, device]] of DEVICES.entries())
      await bench.ip(ns, `addr add 10.88.0.${i + 1}/24 dev ${device}.5`, `link set ${device}.5 up`);
    for (const bytes of [0, 17, 1472, 1473, 20000]) await bench.ping(bytes, 5, [FAR, '10.88.0.2'], [ONE, '10.88.0.1']);
    await bench.fetch(FAR, '10.88.0.2', 20_000_000);
    await bench.upload(FAR, '10.88.0.2', 5_000_000);
    for (const [ns, device] of DEVICES) await bench.ip(ns, `link del ${device}.5`);
  });

  await t.test('every service of the testbed has come through it', (t) => bench.cameThrough(t, testbed));

  await t.test('an interrupt ends it, and leaves no device, process or file', async (t) => {
    await bench.interrupt(t, testbed);
    t.same(await bench.left(), []);
  });
});

/** Loss and reordering on the way: netem where the kernel has it, else our injector. @returns what ends it */
async function disturb(t: Test, bench: TapBench): Promise<() => Promise<unknown>> {
  const tc = (verb: string, how = ''): Promise<Ended[]> =>
    Promise.all(DEVICES.map(([ns, device]) => bench.call(`tc -n ${ns} qdisc ${verb} dev ${device} root ${how}`)));
  const done = await tc('add', 'netem loss 1% delay 1ms reorder 99% 25%');
  if (done.every(({ code }) => code === 0)) return () => tc('del');
  t.comment('by the injector: this kernel has no netem');
  const nic = await bench.service('nic');
  const way = { loss: 0.01, duplicate: 0, corrupt: 0, reorder: 0.01, delay: 0.01, delayUs: 500 };
  await setFaults(nic, { in: { seed: 1, ...way }, out: { seed: 2, ...way } });
  return () => setFaults(nic, null);
}

async function claims(t: Test, bench: TapBench): Promise<void> {
  const driverDomain = await bench.service('driver-domain');
  /** Frames that were refused because their sender is somebody else. */
  const spoofed = async (): Promise<number> => {
    const page = (await driverDomain.callBytes('/metrics')).toString('utf8');
    return total(seriesOf([page]), 'grantline_dropped_frames_total', { reason: 'spoofed' });
  };
  const refused = async (what: string, send: () => Promise<unknown>): Promise<void> => {
    const before = await spoofed();
    await send();
    await eventually(`${what} is counted`, async () => (await spoofed()) > before, 50);
    t.ok((await spoofed()) > before, `${what} is counted`);
  };
  await bench.ping(56, 1, [TWO, FAR_IP], [TWO, IP1], [FAR, IP2]);
  for (const claimed of [FAR_IP, IP2, '10.77.3.3']) {
    await bench.call(`ip -n ${ONE} neigh flush all`);
    await bench.ip(ONE, `addr add ${claimed}/32 dev gl1`);
    // An ARP request that tells everybody, and packets from there.
    await refused(claimed, async () => {
      for (const ip of [IP3, claimed === IP2 ? FAR_IP : IP2])
        await bench.inside(ONE, `ping -n -c 2 -i 0.2 -W 1 -I ${claimed} ${ip}`);
    });
    await bench.ip(ONE, `addr del ${claimed}/32 dev gl1`);
  }
  await bench.ip(ONE, `link set gl1 address ${MAC2}`);
  await refused("another's MAC address", () => bench.inside(ONE, `ping -n -c 2 -i 0.2 -W 1 ${FAR_IP}`));
  await bench.ip(ONE, `link set gl1 address ${MAC1}`);
  await bench.ping(56, 3, [ONE, FAR_IP], [TWO, FAR_IP], [TWO, IP1], [FAR, IP2]);
  for (const [ns, ip, mac] of [
    [TWO, FAR_IP, FAR_MAC],
    [TWO, IP1, MAC1],
    [FAR, IP2, MAC2],
  ])
    t.equal(await bench.neighbour(ns, ip), mac, `what ${ns} takes ${ip} for`);
}
