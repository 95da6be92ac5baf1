import { closeSync, fstatSync, mkdtempSync, openSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { ownPlace, placeOf } from '@grantline/xen';
import { DescriptorDoor, showDescriptor } from '@grantline/machine';
import { Places } from '../../src/control/joins.js';

const nameOf = (n: number): string => n.toString(16).padStart(32, '0');

t.test('a place is a mount namespace and nothing else, shown by descriptor, good once and for ten seconds', (t) => {
  let now = 0;
  const places = new Places(() => now);
  const open = (path: string): number => {
    const fd = openSync(path, 'r');
    t.teardown(() => closeSync(fd));
    return fd;
  };
  const own = open('/proc/self/ns/mnt');
  t.match(ownPlace(), /^mnt:\[\d+\]$/);
  t.equal(placeOf(own), ownPlace());
  // A container has one of each kind, and all are of the same sort of descriptor.
  for (const path of ['/proc/self/ns/net', '/proc/self/ns/pid', '/proc/self/ns/user', '/proc/self/status', '/'])
    t.equal(placeOf(open(path)), null, path);
  places.show(nameOf(1), own);
  places.show(nameOf(2), open('/proc/self/ns/net'));
  t.equal(places.take(nameOf(1)), ownPlace());
  t.equal(places.take(nameOf(1)), null, 'once');
  t.equal(places.take(nameOf(2)), null);
  t.equal(places.take(''), null);
  places.show(nameOf(3), own);
  now = 10e9;
  t.equal(places.take(nameOf(3)), null, 'too late');
  t.end();
});

t.test('who shows its place again and again keeps the last few, and takes no room from others', (t) => {
  const places = new Places(() => 0);
  const own = openSync('/proc/self/ns/mnt', 'r');
  for (let n = 0; n < 1000; n++) places.show(nameOf(n), own);
  closeSync(own);
  const good = Array.from({ length: 1000 }, (_, n) => n).filter((n) => places.take(nameOf(n)) !== null);
  t.same(good, [996, 997, 998, 999]);
  t.end();
});

t.test('what is shown is seen, and closed behind whoever looked', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'grantline-places-'));
  const path = join(dir, 'shared.sock');
  const seen: [string, number][] = [];
  const door = new DescriptorDoor(
    path,
    () => null,
    (name, fd) => seen.push([name, fstatSync(fd).ino]),
  );
  t.teardown(() => {
    door.close();
    rmSync(dir, { recursive: true });
  });
  const own = openSync('/proc/self/ns/mnt', 'r');
  t.teardown(() => closeSync(own));
  const open = (): number => readdirSync('/proc/self/fd').length;
  await showDescriptor(path, nameOf(1), own);
  const before = open();
  for (let n = 2; n <= 20; n++) await showDescriptor(path, nameOf(n), own);
  t.equal(open(), before);
  t.same(
    seen,
    Array.from({ length: 20 }, (_, i) => [nameOf(i + 1), fstatSync(own).ino]),
  );
});
