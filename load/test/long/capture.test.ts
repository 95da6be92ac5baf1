/** grantline capture on a real testbed: what it writes is what passed, Wireshark's tools have nothing to say against it, and
 *  whatever goes wrong leaves a file that can be read. */
import t from 'tap';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { configurationNamed } from '@grantline/base';
import { INBOUND, OUTBOUND, parseCapture } from '@grantline/observe';
import { readPackets, type Packet } from '@grantline/observe/testkit';
import { Merger } from '../../src/capture/capture-run.js';
import { OutFile } from '../../src/capture/out-file.js';
import { Client, configure } from '../../src/control/client.js';
import { sum } from '../../src/control/snapshot.js';
import { required } from '../../src/testbed/discover.js';
import { Bench, CAPTURE, type Running } from '../e2e/kit.js';

t.setTimeout(180_000);

const HOPS = ['nic', 'bridge', 'guest'];

function hasTshark(): boolean {
  try {
    execFileSync('tshark', ['--version'], { stdio: 'ignore' });
    execFileSync('capinfos', ['--version'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}
const skipTshark = hasTshark() ? false : 'tshark and capinfos are not installed (apt-get install tshark)';

const tshark = (file: string, ...args: string[]): string =>
  execFileSync('tshark', ['-n', '-r', file, ...args], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });

const read = (file: string) => readPackets(readFileSync(file));
const clientOf = (bench: Bench): Client => {
  const { file } = required(bench.dir);
  return Client.open(file.hypervisor, file.token);
};
const hex = (packets: Packet[]): string[] => packets.map((p) => p.bytes.toString('hex'));

/** Begins a capture and waits until it is on. */
async function begin(bench: Bench, ...args: string[]): Promise<Running> {
  const running = bench.start('capture', ...args);
  await running.until(/Capturing/);
  return running;
}

t.test('captures of a running testbed', async (t) => {
  const bench = new Bench('capture');
  t.teardown(() => bench.end());
  const up = await bench.up(2);
  const out = (name: string): string => join(bench.home, name);

  await t.test(
    'all hops, baseline: each frame of the capture that was sent, at each hop, in order of time',
    async (t) => {
      const file = out('all.pcapng');
      const capture = await begin(bench, 'vif1.0', '--out', file);
      const second = await begin(bench, 'vif2.0', '--hop', 'guest', '--out', out('second.pcapng'));
      const third = await begin(bench, 'vif1.0', '--hop', 'guest', '--out', out('guest.pcapng'));
      const replay = await bench.run('replay', CAPTURE, '--config', 'baseline', '--pace', 'max');
      t.equal(replay.code, 0, replay.stderr);
      const snapshot = await clientOf(bench).snapshot(await clientOf(bench).services());
      capture.child.kill('SIGINT');
      second.child.kill('SIGTERM');
      third.child.kill('SIGINT');
      const done = await capture.ended;
      t.equal(done.code, 0, done.stderr);
      t.equal((await second.ended).code, 0);
      t.equal((await third.ended).code, 0);
      const { packets, statistics } = read(file);
      const at = HOPS.map((_, i) => packets.filter((p) => p.interfaceId === i));
      const sent = parseCapture(readFileSync(CAPTURE));
      t.same(
        at.map((p) => p.length),
        [sent.count, sent.count, sent.count],
      );
      t.equal(sum(snapshot, 'capture', 'frames'), 4 * sent.count + read(out('second.pcapng')).packets.length);
      t.ok(
        hex(at[0]).join() === hex(at[1]).join() && hex(at[1]).join() === hex(at[2]).join(),
        'the same bytes at each hop',
      );
      t.ok(packets.every((p) => p.direction === INBOUND && p.length === p.bytes.length && p.comment === null));
      t.ok(
        packets.every((p, i) => i === 0 || p.timeNs >= packets[i - 1].timeNs),
        'in the order of their times',
      );
      t.ok(
        at[2].every((p, i) => p.timeNs > at[1][i].timeNs && at[1][i].timeNs > at[0][i].timeNs),
        'each hop is later',
      );
      t.ok(Math.abs(Number(packets[0].timeNs / 1_000_000n) - Date.now()) < 120_000, 'of today');
      for (const i of [0, 1, 2]) t.match(statistics.get(i), { received: BigInt(sent.count), dropped: 0n });
      const stray = read(out('second.pcapng')).packets;
      t.ok(stray.length > 0, 'the second guest gets what is flooded');
      const isGroup = (p: Packet): boolean => (p.bytes[0] & 1) === 1;
      t.ok(
        stray.every((p) => isGroup(p) || /^dropped at (stack|tcpip): [a-z_]+$/.test(p.comment ?? '')),
        'and drops it, with the reason, but for what goes to all',
      );
    },
  );

  await t.test(
    'tshark and capinfos read it: counts, interfaces, nanoseconds, no malformed frame',
    { skip: skipTshark },
    (t) => {
      const file = out('all.pcapng');
      const { packets } = read(file);
      const info = execFileSync('capinfos', [file], { encoding: 'utf8' });
      t.match(info, new RegExp(`Number of packets: +${packets.length}\\n`));
      t.match(info, /File timestamp precision: +nanoseconds \(9\)/);
      t.match(info, /Strict time order: +True/);
      t.match(info, /Capture application: +grantline capture/);
      for (const hop of HOPS) t.match(info, new RegExp(`Name = vif1\\.0:${hop}\\n`));
      t.equal(tshark(file, '-Y', '_ws.malformed'), '');
      const fields = ['frame.time_epoch', 'frame.interface_id', 'frame.packet_flags_direction', 'frame.len'];
      const rows = tshark(file, '-T', 'fields', ...fields.flatMap((f) => ['-e', f]))
        .trim()
        .split('\n');
      t.same(
        rows,
        packets.map((p) => {
          const ns = String(p.timeNs % 1_000_000_000n).padStart(9, '0');
          return [`${p.timeNs / 1_000_000_000n}.${ns}`, p.interfaceId, '0x00000001', p.length].join('\t');
        }),
      );
      const dropped = read(out('second.pcapng')).packets.filter((p) => p.comment !== null).length;
      const shown = tshark(out('second.pcapng'), '-Y', 'frame.comment contains "dropped at "');
      t.equal(shown.split('\n').length - 1, dropped);
      t.end();
    },
  );

  await t.test(
    'guests that send, with segmentation offload: whole packets in the guest, frames at the wire',
    async (t) => {
      const file = out('tx.pcapng');
      const capture = await begin(bench, 'vif1.0', '--out', file, '--snaplen', '128');
      const words = ['--direction', 'tx', '--seconds', '0.2', '--warmup', '0.1', '--guests', '1', '--link', '1'];
      const r = await bench.run('compare', '--configs', 'optimised', ...words);
      t.equal(r.code, 0, r.stderr);
      capture.child.kill('SIGINT');
      t.equal((await capture.ended).code, 0);
      const { packets, statistics } = read(file);
      const from = HOPS.map((_, i) => packets.filter((p) => p.interfaceId === i && p.direction === OUTBOUND));
      t.ok(
        from[2].some((p) => p.length > 9014),
        'longer than any frame',
      );
      t.ok(from[0].every((p) => p.length <= 1514));
      if ([0, 1, 2].every((i) => statistics.get(i)?.dropped === 0n)) {
        t.equal(from[1].length, from[2].length, 'the bridge hop has the packets of the guest');
        const payload = (all: Packet[]): number => all.reduce((n, p) => n + p.length - 66, 0);
        t.equal(payload(from[0]), payload(from[2]), 'cut, and nothing lost');
      }
      t.ok(packets.every((p) => p.bytes.length <= 128));
    },
  );

  await t.test('a capture is sent again: grantline replay takes it', async (t) => {
    const again = await bench.run('replay', out('guest.pcapng'), '--config', 'optimised', '--pace', 'max');
    t.match(again.stdout, /sent 2738 frames.*\n.*every frame arrived byte for byte/);
  });

  await t.test(
    'so many frames, so many seconds; a small ring loses frames, says how many, and the path none',
    async (t) => {
      const some = await begin(bench, 'vif1.0', '--hop', 'nic', '--frames', '100', '--out', out('some.pcapng'));
      const tiny = await begin(bench, 'vif1.0', '--hop', 'guest', '--buffer', '4096', '--out', out('tiny.pcapng'));
      const timed = await bench.run('capture', 'vif1.0', '--seconds', '0.2', '--out', out('empty.pcapng'));
      t.equal(timed.code, 0, timed.stderr);
      t.equal(read(out('empty.pcapng')).statistics.size, 3, 'no frames, and a whole file');
      const replay = await bench.run('replay', CAPTURE, '--pace', 'max');
      t.equal(replay.code, 0, replay.stderr);
      t.match(replay.stdout, /every frame arrived byte for byte/, 'overflow holds nobody up');
      const stopped = await some.ended;
      t.equal(stopped.code, 0, stopped.stderr);
      t.equal(read(out('some.pcapng')).packets.length, 100);
      tiny.child.kill('SIGINT');
      const done = await tiny.ended;
      const lost = Number(/(\d+) more found the ring full/.exec(done.stdout)?.[1]);
      const { packets, statistics } = read(out('tiny.pcapng'));
      t.ok(lost > 0, done.stdout);
      t.equal(packets.length + lost, 2738);
      t.match(statistics.get(0), { received: 2738n, dropped: BigInt(lost) });
    },
  );

  await t.test(
    'mistakes are one line with what to do, exit code 2, and no file where there was nothing to write',
    async (t) => {
      await configure(clientOf(bench), configurationNamed('direct')!);
      for (const [args, says] of [
        [['vif9.0'], /there is no vif9\.0 - known are vif1\.0, vif2\.0/],
        [['vif1.0', '--hop', 'bridge'], /no hop bridge in the configuration direct.*take --hop nic or guest/],
        [['vif1.0', '--hop', 'wire'], /unknown hop "wire" - give nic, bridge, guest/],
        [['vif1.0', '--frames', '0'], /number of frames/],
      ] as const) {
        const r = await bench.run('capture', ...args, '--out', out('none.pcapng'));
        t.equal(r.code, 2, args.join(' '));
        t.match(r.stderr, says);
        t.equal(
          r.stderr
            .trim()
            .split('\n')
            .filter((l) => l.startsWith('grantline:')).length,
          1,
        );
        t.notOk(existsSync(out('none.pcapng')), args.join(' '));
      }
      mkdirSync(out('folder'));
      for (const [path, says] of [
        [out('folder'), /cannot write .*\(it is a directory\)/],
        ['/dev/full', /no room is left for \/dev\/full/],
      ] as const) {
        const r = await bench.run('capture', 'vif1.0', '--seconds', '0.2', '--out', path);
        t.equal(r.code, 2, path);
        t.match(r.stderr, says);
      }
      const access = await fetch(`${required(bench.dir).file.hypervisor}/api/domains/1/control`);
      t.equal(access.status, 401, 'the key is told to the operator only');
      const client = clientOf(bench);
      const guest = (await client.services()).find((s) => s.name === 'guest1')!;
      const { key } = await client.controlAccess(2);
      const other = await fetch(`${guest.http}/capture?hop=guest&vif=vif1.0`, {
        headers: { authorization: `Bearer ${key}` },
      });
      t.equal(other.status, 401, 'the key of one guest opens no other');
    },
  );

  await t.test('a service dies: the file holds what came before, the command says so and fails', async (t) => {
    const capture = await begin(bench, 'vif2.0', '--out', out('died.pcapng'));
    const nic = bench.services().find((p) => p.script.startsWith('services/nic/'))!;
    process.kill(nic.pid, 'SIGKILL');
    const done = await capture.ended;
    t.equal(done.code, 1, done.stdout);
    t.match(done.stderr, /ended early, .*died\.pcapng holds what came before/);
    t.equal(read(out('died.pcapng')).statistics.size, 3);
    await up.ended;
    await sleep(50);
  });
});

t.test(
  'merging: by time across hops, as far as all hops have come; a hop that says nothing holds only so much',
  (t) => {
    const out: string[] = [];
    const m = new Merger(2, (hop, block) => out.push(`${hop}${block.toString()}`));
    m.push(0, 10, Buffer.from('a'));
    m.push(1, 5, Buffer.from('b'));
    m.mark(0, 12);
    m.flush();
    t.same(out, [], 'the other hop may still say something older');
    m.push(1, 20, Buffer.from('c'));
    m.mark(1, 25);
    m.flush();
    t.same(out.splice(0), ['1b', '0a']);
    m.push(0, 15, Buffer.from('d'));
    m.flush(true);
    t.same(out.splice(0), ['0d', '1c']);
    const block = Buffer.alloc(1 << 20);
    for (let i = 0; i < 70; i++) m.push(0, 100 + i, block);
    m.flush();
    t.equal(out.length, 70);
    t.end();
  },
);

t.test(
  'a disk that gets full: the file ends at a whole block',
  { skip: process.getuid?.() === 0 ? false : 'needs root to mount' },
  (t) => {
    const dir = `/dev/shm/grantline-test-${process.pid}-full`;
    mkdirSync(dir);
    t.teardown(() => execFileSync('rmdir', [dir]));
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'none', dir], { stdio: 'pipe' });
    } catch {
      t.comment('skipped: this root may not mount');
      return void t.end();
    }
    t.teardown(() => execFileSync('umount', [dir]));
    const file = new OutFile(join(dir, 'x'));
    t.throws(() => {
      for (let i = 0; i < 100; i++) {
        file.add(Buffer.alloc(1000, i));
        file.flush();
      }
    }, /no room is left for .*\/x - what it holds can be read/);
    file.close();
    const bytes = readFileSync(join(dir, 'x'));
    t.equal(bytes.length, file.bytes);
    t.equal(bytes.length % 1000, 0);
    t.ok(bytes.length > 30_000);
    t.end();
  },
);
