/** What may stand at the other end of a cable, and wishes nobody well: floods, scans, clients that never come to the point, frames
 *  that are none. By programs that everybody has, from one namespace, while real clients of the same guest go on. Bounded in time;
 *  no test asks how fast anything is. */
import t from 'tap';
import { ok as must } from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Rng } from '@grantline/base';
import { parseCapture, writePcap } from '@grantline/observe';
import { CAPTURE, eventually, lacking, succeeded } from '../e2e/kit.js';
import { GUEST_PORT } from './peers.js';
import { FAR, IP3, MAC3, missing, TapBench } from './tap-bench.js';

// The runner's patience ends it.
t.setTimeout(0);

/** How long a client may try to be served under attack; on an idle machine it takes some milliseconds. */
const PATIENCE_MS = 120_000;
const FLOOD_MS = 4000;

t.test('a hostile far end keeps no client of a guest out', { skip: missing() }, async (t) => {
  const bench = await TapBench.make(t, 'hostile');
  const testbed = await bench.kernels();

  /** A client of one request, by a new connection, that tries until it is served. */
  const served = (bytes: number): Promise<void> =>
    eventually(
      'a client is served',
      async () => {
        const line = `curl -sS -m 10 -o /dev/null http://${IP3}/bytes/${bytes} -w`;
        const { stdout, stderr } = await bench.inside(FAR, line, '%{http_code} %{size_download}');
        must(stdout === `200 ${bytes}`, stdout + stderr);
        return true;
      },
      50,
      PATIENCE_MS,
    );
  const steady = bench.peer(FAR, 'steady', IP3);
  const answers = (): number => Number(/(\d+)\n$/.exec(steady.stdout)?.[1] ?? 0);
  /** The connection that was there before: it must be answered again, and go on. */
  const resumed = async (): Promise<void> => {
    const before = answers();
    const isAnswered = (): boolean => steady.child.exitCode !== null || answers() > before;
    await eventually('the connection from before is answered', isAnswered, 50, PATIENCE_MS);
    must(steady.child.exitCode === null, `the connection from before has ended: ${steady.stdout.slice(-40)}`);
  };
  /** Frames that the attackers' device has sent. */
  const sent = async (): Promise<number> =>
    Number(await bench.must(`ip netns exec ${FAR} cat /sys/class/net/gl0/statistics/tx_packets`));
  /** While a program floods the guest, clients are served. @returns how many frames it sent */
  const during = async (line: string, leastMs = FLOOD_MS): Promise<string> => {
    const begin = performance.now();
    const before = await sent();
    const flood = bench.stay(FAR, line);
    try {
      // More than any backlog has room for.
      const floods = async (): Promise<boolean> => flood.child.exitCode !== null || (await sent()) - before > 5000;
      await eventually('it floods', floods, 50, PATIENCE_MS);
      must(flood.child.exitCode === null, `it ended: ${flood.stderr}${flood.stdout}`);
      for (let i = 1; i <= 3; i++) await served(1000 * i);
      await resumed();
      await sleep(Math.max(0, leastMs - (performance.now() - begin)));
    } finally {
      flood.signal('SIGKILL');
      await flood.ended;
    }
    await served(100_000);
    return `${(await sent()) - before} frames`;
  };
  await resumed();
  // A testbed that has only just begun is slow: nothing is asked of it under attack before its code is compiled.
  for (let i = 0; i < 20; i++) await served(1_000_000);
  await resumed();

  const port = `-p ${GUEST_PORT}`;
  const hping = { skip: lacking({ hping3: 'hping3' }) };
  await t.test('a SYN flood from random sources: new clients connect, and others feel nothing', hping, async (t) =>
    t.comment(await during(`hping3 -n -q --flood -S --rand-source ${port} ${IP3}`)),
  );

  await t.test('floods of UDP, of odd flags and of data for no connection', hping, async (t) => {
    // Not as fast as the machine can: what a link drops for want of room says nothing of the guest.
    for (const kind of ['--udp --rand-source -p 7', `-F -P -U ${port}`, `-A --rand-source ${port} -d 1000`])
      t.comment(await during(`hping3 -n -q -i u100 ${kind} ${IP3}`, 2000));
  });

  await t.test('scans find the one open port, and change nothing', { skip: lacking({ nmap: 'nmap' }) }, async () => {
    const scan = async (kind: string, last: number): Promise<string> => {
      const common = '-n -Pn -T5 --max-retries 1 --host-timeout 20s';
      return succeeded(await bench.inside(FAR, `nmap ${common} ${kind} -p 1-${last} ${IP3}`));
    };
    const finds = async (): Promise<boolean> => {
      const found = await scan('-sS', 200);
      must(/^80\/tcp +open\b/m.test(found), found);
      return true;
    };
    await eventually('it finds the port', finds, 50, PATIENCE_MS);
    for (const kind of ['-sX', '-sN', '-sF', '-sA', '-sU']) await scan(kind, 60);
    await served(1000);
    await resumed();
  });

  await t.test('a thousand requests that never end their headers', async () => {
    const slow = bench.peer(FAR, 'slow-headers', IP3);
    await slow.until(/open 1000/, PATIENCE_MS);
    for (let i = 0; i < 3; i++) await served(10_000);
    await resumed();
    slow.signal('SIGKILL');
    await slow.ended;
  });

  await t.test('requests by ab, each answered', { skip: lacking({ ab: 'apache2-utils' }) }, async (t) => {
    const line = `ab -q -k -s 60 -c 50 -t 10 -n 20000 http://${IP3}/bytes/100`;
    const { stdout, stderr } = await bench.inside(FAR, line);
    const of = (what: string): number => Number(new RegExp(`^${what}: +(\\d+)`, 'm').exec(stdout)?.[1]);
    t.ok(of('Complete requests') > 0, `${of('Complete requests')} requests; ${stderr}`);
    t.equal(of('Failed requests'), 0, stdout);
    t.notMatch(stdout, /Non-2xx/);
  });

  await t.test('frames that no sender makes', { skip: lacking({ tcpreplay: 'tcpreplay' }) }, async (t) => {
    const file = join(bench.files, 'odd.pcap');
    const frames = oddFrames(MAC3);
    writeFileSync(file, writePcap(frames.map((bytes) => ({ timeNs: 0, bytes }))));
    t.ok(frames.length > 500, `${frames.length} frames`);
    succeeded(await bench.inside(FAR, 'tcpreplay -q -i gl0 --topspeed', file));
    await served(1000);
    await resumed();
  });

  await t.test('500 readers of a body who take 32 bytes every five seconds', async () => {
    const slow = bench.peer(FAR, 'slow-readers', IP3);
    await slow.until(/open 500/, PATIENCE_MS);
    const begin = performance.now();
    for (let i = 0; i < 5; i++) await served(100_000);
    await resumed();
    await sleep(Math.max(0, 6000 - (performance.now() - begin)));
    await served(100_000);
    slow.signal('SIGKILL');
    await slow.ended;
    await served(1_000_000);
  });

  steady.signal('SIGKILL');
  await steady.ended;
  // Connections whose clients were killed end with a burst.
  await sleep(1000);
  await t.test('every service of the testbed has come through it', (t) => bench.cameThrough(t, testbed));

  await t.test('an interrupt ends it, and leaves no device, process or file', async (t) => {
    await bench.interrupt(t, testbed);
    t.same(await bench.left(), []);
  });
});

/** Frames of the sample capture for this guest, cut, with wrong bits, with lengths that lie. Always the same ones. */
function oddFrames(mac: string): Buffer[] {
  const sample = parseCapture(readFileSync(CAPTURE));
  const rng = new Rng(20260101);
  const destination = Buffer.from(mac.replaceAll(':', ''), 'hex');
  const types = [0x86dd, 0x8100, 0x88a8, 0x0806, 0x05dc, 0x8847, 0x8864];
  const odd = (i: number): Buffer => {
    const frame = Buffer.from(sample.bytes.subarray(sample.offsets[i], sample.offsets[i] + sample.lengths[i]));
    destination.copy(frame);
    if (rng.below(8) === 0) frame.fill(0xff, 0, 6);
    const kind = rng.below(6);
    if (kind === 0) frame.writeUInt16BE(types[rng.below(types.length)], 12);
    else if (kind === 1 && frame.length > 20) frame.writeUInt16BE(rng.below(65536), 16);
    else if (kind === 2) frame[14] = rng.below(256);
    else if (kind === 3 && frame.length > 24) frame.writeUInt16BE(rng.below(65536), 20);
    else for (let n = 0; n < 4; n++) frame[14 + rng.below(Math.min(40, frame.length - 14))] ^= 1 << rng.below(8);
    return rng.below(4) === 0 ? frame.subarray(0, 14 + rng.below(frame.length - 14)) : frame;
  };
  const long = Array.from(sample.lengths.keys()).filter((i) => sample.lengths[i] >= 15);
  return long.slice(0, 2000).map(odd);
}
