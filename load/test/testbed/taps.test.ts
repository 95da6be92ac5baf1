import t from 'tap';
import { UserError } from '../../src/base/errors.js';
import { farTapEnv, guestTapEnv, parseTaps, tapLines } from '../../src/testbed/taps.js';

t.test('devices are given to the far end and to guests by number or in turn', (t) => {
  const taps = parseTaps({ tap: 'gl0,outside', guestTap: ['guest2=a,two', 'b,one'], tapOffload: true }, 2);
  t.same(farTapEnv(taps), { GRANTLINE_FAR_END: 'tap:gl0,outside' });
  t.same(guestTapEnv(taps, 1), { GRANTLINE_TAP: 'b,one' });
  t.same(guestTapEnv(taps, 2), { GRANTLINE_TAP: 'a,two' });
  t.same(guestTapEnv(taps, 3), {});
  const lines = tapLines(
    taps,
    new Map([
      [1, '10.77.0.1'],
      [2, '10.77.0.2'],
    ]),
  ).join('\n');
  t.match(lines, 'ip netns exec outside ping 10.77.0.2');
  t.match(lines, 'ip netns exec one ping 10.77.255.254');
  const plain = parseTaps({ tap: 'gl0', tapOffload: false }, 1);
  t.same(farTapEnv(plain), { GRANTLINE_FAR_END: 'tap:gl0', GRANTLINE_TAP_OFFLOAD: '0' });
  t.same(farTapEnv(parseTaps({}, 1)), {});
  t.end();
});

t.test('what names no device, no guest, or two kernels in one namespace is refused with what to do', (t) => {
  const refused = (tap: string | undefined, guestTap: string[], guests: number): string => {
    try {
      parseTaps({ ...(tap === undefined ? {} : { tap }), guestTap }, guests);
    } catch (error) {
      if (error instanceof UserError) return error.message;
      throw error;
    }
    return 'taken';
  };
  for (const name of [
    '',
    'a-name-of-16-chars',
    'a/b',
    'a b',
    '..',
    'tap%d',
    'a,',
    'a,../x',
    'a,b,c',
    'a,pid:',
    'a,pid:0',
    'a,pid:-1',
    'a,pid:1x',
    'a,/x\ny',
    "a,/x'y",
  ])
    t.match(refused(name, [], 1), /names no device - give NAME/, name);
  t.match(refused(undefined, ['guest3=a'], 2), /is for guest3, and there are 2 guests - take --guests 3/);
  t.match(refused(undefined, ['a,x', 'b,y'], 1), /is for guest2, and there is 1 guest/);
  t.match(refused(undefined, ['guest1=a,x', 'guest1=b,y'], 2), /two devices/);
  t.match(refused('a', ['b'], 1), /the far end and guest1 are both in the own network namespace/);
  t.match(refused('a,x', ['b,y', 'c,x'], 2), /the far end and guest2 are both in the network namespace x/);
  t.equal(refused('a', ['b,y'], 1), 'taken');
  t.end();
});

t.test('a namespace is given by its name, its path or a process that is in it', (t) => {
  const taps = parseTaps({ tap: 'gl0,pid:4711', guestTap: ['a,/proc/1/ns/net', 'b,/run/my nets/one'] }, 2);
  t.same(farTapEnv(taps), { GRANTLINE_FAR_END: 'tap:gl0,pid:4711' });
  t.same(guestTapEnv(taps, 2), { GRANTLINE_TAP: 'b,/run/my nets/one' });
  const lines = tapLines(taps, new Map([[1, '10.77.0.1']])).join('\n');
  t.match(lines, 'nsenter --net=/proc/4711/ns/net ping 10.77.0.1');
  t.match(lines, 'nsenter --net=/proc/1/ns/net ping');
  t.match(lines, "nsenter --net='/run/my nets/one' ping");
  t.end();
});
