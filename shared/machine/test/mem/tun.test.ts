import { execFileSync } from 'node:child_process';
import { accessSync, closeSync, existsSync, readSync, writeSync } from 'node:fs';
import t from 'tap';
import { AddressSpace } from '../../src/mem/address-space.js';
import { BROKEN, READABLE, waitReadable, makePipe } from '../../src/mem/libc.js';
import { Doorbell, Ringer, TIMED_OUT, WakeSource } from '../../src/mem/doorbell.js';
import { TapError, VNET_BYTES, openTap, type TapOptions, tapRefusal, tryTap } from '../../src/mem/tun.js';
import { Bell } from '../../testkit/handles.js';

const name = `glt${process.pid}`;
const options: TapOptions = { name, netns: null, mac: '02:00:00:00:00:07', ip: null, offload: true };
const reasonOf = (o: TapOptions): string => {
  try {
    openTap(o).close();
  } catch (error) {
    if (error instanceof TapError) return error.reason;
    throw error;
  }
  return 'made';
};

function whyNot(): string | false {
  if (process.getuid?.() !== 0) return 'not root';
  try {
    accessSync('/dev/net/tun');
    return false;
  } catch {
    return 'no /dev/net/tun';
  }
}

t.test('a name that is none, a namespace that is not there: each has its reason, and what to do', (t) => {
  t.equal(reasonOf({ ...options, name: 'x/y' }), 'bad-name');
  const error = new TapError('no-netns', 'there is none');
  t.match(tapRefusal(error, { name, netns: 'x' }), { what: 'there is none', todo: /ip netns add x/ });
  t.equal(tapRefusal(new Error('a bug'), { name, netns: null }), null);
  t.end();
});

t.test(
  'a device is there while its descriptor is open, up, with its address; its name is then taken',
  { skip: whyNot() },
  (t) => {
    const tap = openTap(options);
    t.ok(tap.vnet);
    t.equal(existsSync(`/sys/class/net/${name}`), true);
    t.equal(reasonOf(options), 'taken');
    t.equal(reasonOf({ ...options, netns: 'grantline-there-is-none' }), 'no-netns');
    for (const netns of ['/proc/self/ns/uts', '/proc/self/status', '/dev/zero', '/proc', '/none', 'pid:2000000000'])
      t.equal(reasonOf({ ...options, netns }), 'no-netns', netns);
    t.match(tryTap({ name, netns: 'pid:2000000000' }), { what: /no process 2000000000/, todo: /pid:N/ });
    t.match(tryTap({ name, netns: '/dev/zero' }), { what: '/dev/zero is no network namespace' });
    for (const netns of [`pid:${process.pid}`, '/proc/self/ns/net'])
      t.equal(reasonOf({ ...options, netns }), 'taken', `our own, as ${netns}`);
    t.match(tryTap({ name, netns: null }), { todo: /another name/ });
    const space = new AddressSpace(1 << 20);
    const at = space.mapPrivate(1 << 17);
    // A frame that the kernel takes, and one that it does not: the vnet header claims a checksum beyond the end.
    const iov = space.mapPrivate(4096);
    space.mem.u8.set([2, 0, 0, 0, 0, 7, 2, 0, 0, 0, 0, 8, 0x88, 0xb5], at + VNET_BYTES);
    space.mem.dv.setBigUint64(iov, BigInt(space.addressOf(at)), true);
    space.mem.dv.setBigUint64(iov + 8, BigInt(VNET_BYTES + 60), true);
    t.equal(tap.writev(space.addressOf(iov), 1), VNET_BYTES + 60);
    space.mem.u8.set([1, 0, 0, 0, 0, 0, 200, 0, 200, 0], at);
    t.equal(tap.writev(space.addressOf(iov), 1), -1);
    tap.close();
    t.equal(existsSync(`/sys/class/net/${name}`), false);
    t.equal(tryTap({ name, netns: null }), null);
    t.end();
  },
);

t.test('a descriptor that is broken for ever is not readable: whoever waits hears of it once, and sleeps on', (t) => {
  const made = new Bell();
  const bell = new Doorbell(made.hears);
  const ringer = new Ringer(made.rings);
  t.teardown(() => made.close());
  t.teardown(() => ringer.close());
  t.teardown(() => bell.close());
  // What hangs up without a word: the reading end of a pipe whose writer has gone.
  const { reads: reader, writes: writer } = makePipe();
  t.teardown(() => closeSync(reader));
  const heard: string[] = [];
  bell.source = new WakeSource(
    reader,
    () => heard.push('readable'),
    () => heard.push('broken'),
  );
  bell.source.want(true);
  t.equal(bell.wait(0), TIMED_OUT);
  t.ok(bell.source.stands);
  writeSync(writer, 'x');
  t.ok(bell.wait(0));
  closeSync(writer);
  t.ok(bell.wait(0), 'what was written is still there to be read');
  readSync(reader, Buffer.alloc(8));
  t.equal(waitReadable(reader, -1, 0), BROKEN);
  t.ok(bell.wait(0));
  bell.source.want(true);
  t.equal(bell.wait(1000), TIMED_OUT, 'it is not asked for again');
  t.same(heard, ['readable', 'readable', 'broken']);
  t.notOk(bell.source.stands);
  ringer.ring();
  t.ok(bell.wait(0), 'the doorbell goes on');
  // A number that is no descriptor.
  t.equal(waitReadable(1_000_000, -1, 0), BROKEN);
  const ends = made.hears;
  ringer.ring();
  t.equal(waitReadable(ends, 1_000_000, 0), READABLE | (BROKEN << 2));
  closeSync(ends);
  t.end();
});

t.test('a TAP device that is removed under its descriptor breaks its source', { skip: whyNot() }, async (t) => {
  const tap = openTap(options);
  const heard: string[] = [];
  const source = new WakeSource(
    tap.fd,
    () => {},
    () => heard.push('broken'),
  );
  t.ok(source.stands);
  source.want(true);
  execFileSync('ip', ['link', 'del', name]);
  for (let i = 0; i < 500 && heard.length === 0; i++) await new Promise((r) => setTimeout(r, 10));
  t.same(heard, ['broken'], 'told by the event loop');
  t.notOk(source.stands);
  source.close();
  tap.close();
});

t.test(
  'a device that somebody made is taken, and is still there afterwards, with what it had',
  { skip: whyNot() },
  (t) => {
    const ip = (...words: string[]): string => execFileSync('ip', words, { encoding: 'utf8' });
    const remove = (mode: string): void => void ip('tuntap', 'del', 'dev', name, 'mode', mode);
    ip('tuntap', 'add', 'dev', name, 'mode', 'tap');
    ip('addr', 'add', '10.99.98.1/30', 'dev', name);
    const address = { address: '10.99.97.1', prefix: 30 };
    const tap = openTap({ ...options, ip: address });
    t.ok(tap.vnet);
    t.equal(reasonOf(options), 'taken', 'by another process');
    t.match(ip('addr', 'show', name), /10\.99\.98\.1/);
    t.notMatch(ip('addr', 'show', name), /10\.99\.97\.1/);
    t.match(ip('link', 'show', name), /02:00:00:00:00:07/);
    tap.close();
    t.ok(existsSync(`/sys/class/net/${name}`));
    const before = /link.ether (\S+)/.exec(ip('link', 'show', name))?.[1];
    openTap({ ...options, mac: '02:00:00:00:00:08', keepMac: true }).close();
    t.equal(/link.ether (\S+)/.exec(ip('link', 'show', name))?.[1], before);
    remove('tap');
    ip('tuntap', 'add', 'dev', name, 'mode', 'tun');
    t.match(tryTap({ name, netns: null }), { what: /TUN device/ });
    remove('tun');
    ip('tuntap', 'add', 'dev', name, 'mode', 'tap', 'multi_queue');
    t.match(tryTap({ name, netns: null }), { what: /several queues/ });
    ip('link', 'del', name);
    t.match(tryTap({ name: 'lo', netns: null }), { what: /no TAP device/ });
    t.end();
  },
);
