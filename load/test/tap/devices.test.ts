/** TAP devices' whole life: those of a testbed that crashes, those that were there before, one that is removed. */
import t from 'tap';
import { setTimeout as sleep } from 'node:timers/promises';
import { eventually, type Running } from '../e2e/kit.js';
import { CONFIG, FAR, FAR_IP, IP1, IP2, missing, ONE, TapBench, TWO } from './tap-bench.js';

// The runner's patience ends it.
t.setTimeout(0);

t.test('devices of a testbed and devices of others', { skip: missing() }, async (t) => {
  const bench = await TapBench.make(t, 'devices');

  await t.test('a crash leaves none; without vnet header and offloads frames pass, too', async (t) => {
    const taps = ['--tap', `gl0,${FAR}`, '--guest-tap', `gl1,${ONE}`];
    const testbed = await bench.up(1, '--config', 'baseline', '--no-tap-offload', ...taps);
    await bench.answered(FAR, IP1);
    await bench.serve(ONE);
    for (const bytes of [1, 1472, 1473, 9000]) await bench.ping(bytes, 5, [FAR, IP1]);
    await bench.fetch(FAR, IP1, 1_000_000);
    await bench.upload(FAR, IP1, 1_000_000);
    testbed.signal('SIGKILL');
    const devices = async (): Promise<string> => (await bench.devices(FAR)) + (await bench.devices(ONE));
    await eventually('no device is left', async () => (await devices()) === '', 50, 10_000);
    await eventually('no service is left', () => bench.services().length === 0, 50, 10_000);
    const down = await bench.run('down', '--dir', bench.dir);
    t.equal(down.code, 0, down.stderr);
    t.same(await bench.left(), []);
  });

  const sleeper = bench.stay(ONE, 'sleep 1000');
  let testbed: Running;
  await t.test('devices that are there already, in namespaces given by path and by process, are taken', async (t) => {
    await bench.ip(FAR, 'tuntap add dev gl0 mode tap', `addr add ${FAR_IP}/16 dev gl0`, 'link set gl0 up');
    const taps = ['--tap', `gl0,/run/netns/${FAR}`, '--guest-tap', `gl1,pid:${sleeper.child.pid}`];
    testbed = await bench.up(2, '--config', CONFIG, '--nested', 'guest1', ...taps);
    t.match(testbed.stdout, `nsenter --net=/run/netns/${FAR} ping ${IP1}`);
    await bench.answered(FAR, IP1);
    await bench.ping(3000, 5, [FAR, IP1], [ONE, FAR_IP], [FAR, IP2]);
  });

  await t.test('stations behind a guest that is said to be nested, by macvlan or a bridge, are reached', async (t) => {
    const station = '10.77.9.9';
    const { code } = await bench.call(`ip -n ${ONE} link add link gl1 name st type macvlan mode bridge`);
    t.comment(code === 0 ? 'macvlan' : 'a bridge: this kernel has no macvlan');
    if (code !== 0) {
      await bench.ip(ONE, 'link add br type bridge', 'link add st type veth peer name stp');
      await bench.ip(ONE, 'link set gl1 master br', 'link set stp master br', 'link set br up', 'link set stp up');
    }
    // In a namespace of its own: a station, not another address of the guest's.
    await bench.ip(ONE, `link set st netns ${TWO}`);
    await bench.ip(TWO, `addr add ${station}/16 dev st`, 'link set st up');
    await bench.answered(TWO, FAR_IP);
    await bench.ping(3000, 5, [TWO, FAR_IP], [TWO, IP2], [FAR, station]);
    await bench.ip(TWO, 'link del st');
    if (code !== 0) await bench.ip(ONE, 'link del br');
  });

  await t.test('a device that is removed under the testbed: a line, no readiness, and nothing spins', async (t) => {
    await bench.ip(ONE, 'link del gl1');
    await testbed.until(/^grantline: guest1 is not ready: the TAP device gl1 is gone$/m, 20_000);
    const guest = await bench.service('guest1');
    t.equal((await fetch(`${guest.http}/health/ready`)).status, 503);
    await t.resolves((await bench.service('nic')).callBytes('/health/ready'), 'the nic is ready');
    const times = (): Promise<{ processCpuNs: number; atNs: number }> => guest.call('/counters');
    const before = await times();
    await sleep(2000);
    const after = await times();
    const share = (after.processCpuNs - before.processCpuNs) / (after.atNs - before.atNs);
    t.ok(share < 0.3, `guest1 takes ${(share * 100).toFixed(0)} % of a core`);
    await bench.ping(56, 3, [FAR, IP2]);
  });

  await t.test('a device that was there stays, and nothing else', async (t) => {
    await bench.interrupt(t, testbed);
    t.match(await bench.devices(FAR), /\bgl0\b/);
    await bench.ip(FAR, 'link del gl0');
    t.same(await bench.left(), []);
  });
});
