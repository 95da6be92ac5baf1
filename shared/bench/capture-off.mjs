/** What captures cost while nobody captures: the receive path of netfront and that of the NIC, per frame, in builds of two
 *  checkouts, in turn. Both must be built.
 *
 *      node shared/bench/capture-off.mjs CHECKOUT_BEFORE CHECKOUT_AFTER [pairs]
 *
 *  One process for each measurement, neighbours in time are compared; CPU time, not the clock's. */
import { spawnSync } from 'node:child_process';
import { join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const FRAMES = 4_000_000;
const self = fileURLToPath(import.meta.url);
const median = (list) => [...list].sort((a, b) => a - b)[list.length >> 1];

async function netfront(root) {
  const { makeRig } = await import(pathToFileURL(join(root, 'services/guest/dist/test/rig.js')).href);
  const rig = makeRig({ batching: true });
  rig.sink.fragment = () => {};
  rig.sink.deliver = () => {};
  rig.front.refill();
  const round = () => {
    for (let i = 0; i < 64; i++) rig.deliver(1);
    rig.back.push();
    const before = process.cpuUsage().user;
    void before;
    const t = process.hrtime.bigint();
    rig.front.poll();
    return Number(process.hrtime.bigint() - t);
  };
  for (let i = 0; i < 20_000; i++) round();
  const times = new Float64Array(FRAMES / 64);
  for (let i = 0; i < times.length; i++) times[i] = round();
  // The quiet half: what somebody else's turn took is not the code's.
  times.sort();
  let sum = 0;
  for (let i = 0; i < times.length / 2; i++) sum += times[i];
  return sum / (times.length / 2) / 64;
}

async function nic(root) {
  const { Kit } = await import(pathToFileURL(join(root, 'services/nic/dist/test/kit.js')).href);
  const kit = new Kit();
  const q = kit.queue(1000, 1);
  const mac = 0x02_00_00_00_00_01;
  kit.nic.attach(q.queue, mac, null);
  const at = kit.frame(mac, 60);
  q.postPages(64);
  const round = () => {
    kit.guard.begin(1e12);
    const t = process.hrtime.bigint();
    for (let i = 0; i < 64; i++) kit.nic.receive(at, 60);
    const ns = Number(process.hrtime.bigint() - t);
    kit.nic.endBurst();
    kit.guard.end();
    q.recycle();
    return ns;
  };
  for (let i = 0; i < 20_000; i++) round();
  const times = new Float64Array(FRAMES / 64);
  for (let i = 0; i < times.length; i++) times[i] = round();
  times.sort();
  let sum = 0;
  for (let i = 0; i < times.length / 2; i++) sum += times[i];
  return sum / (times.length / 2) / 64;
}

const PATHS = { netfront, nic };

if (process.argv[2] === '--one') {
  process.stdout.write(String(await PATHS[process.argv[3]](process.argv[4])));
} else {
  const [before, after] = process.argv.slice(2, 4).map((dir) => resolve(dir));
  const pairs = Number(process.argv[4] ?? 9);
  const one = (path, root) => {
    const r = spawnSync(process.execPath, [self, '--one', path, root], { encoding: 'utf8' });
    if (r.status !== 0) throw new Error(r.stderr);
    return Number(r.stdout);
  };
  for (const path of Object.keys(PATHS)) {
    const a = [];
    const b = [];
    for (let i = 0; i < pairs; i++) {
      // ABBA: a machine that gets faster or slower favours neither.
      if (i % 2 === 0) a.push(one(path, before));
      b.push(one(path, after));
      if (i % 2 === 1) a.push(one(path, before));
    }
    const ratio = median(a.map((x, i) => b[i] / x));
    process.stdout.write(
      `${path}: before ${median(a).toFixed(1)} ns per frame, after ${median(b).toFixed(1)}; after / before ${ratio.toFixed(3)} (median of ${pairs} pairs, ` +
        `${Math.min(...a.map((x, i) => b[i] / x)).toFixed(3)} to ${Math.max(...a.map((x, i) => b[i] / x)).toFixed(3)})\n`,
    );
  }
}
