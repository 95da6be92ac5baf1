/** in = out + drops by reason + in flight, at each hop from the cable to the application. Pure; looked at when the load
 *  has stopped and everything has come to rest, so nothing is in flight. Each equation reads two or more blocks that
 *  different services counted on their own: an error in one of them, or a frame that got lost silently, shows. */
import { injectedHere } from './faults.js';
import type { Hop, Term } from './hop.js';
import {
  blocksOf,
  everywhere,
  inDriverDomain,
  inGuests,
  inNic,
  sum,
  type BlockKind,
  type Snapshot,
  type Where,
} from './snapshot.js';

/** The hops of a snapshot with their numbers: for the check, and for `dump`. */
export function hops(c: Snapshot, path: 'split' | 'direct' | 'native'): Hop[] {
  const of =
    (kind: BlockKind, where: Where = everywhere) =>
    (counter: string): Term => ({
      name: `${kind}.${counter}`,
      value: sum(c, kind, counter, where),
    });
  const cable = of('cable', inNic);
  const nic = of('nic', inNic);
  const queue = of('nicQueue', inNic);
  const nicTx = of('nicTx', inNic);
  const driver = of('driver', inDriverDomain);
  const guestDriver = of('driver', inGuests);
  const bridge = of('bridge', inDriverDomain);
  const netback = of('netback', inDriverDomain);
  const netfront = of('netfront', inGuests);
  const receivers = path === 'native' ? inDriverDomain : inGuests;
  const stack = of('stack', receivers);
  const app = of('app', receivers);

  const faults = injectedHere(c, 'in');
  const out: Hop[] = [
    {
      name: 'cable to NIC',
      in: [cable('sentFrames'), cable('stationFrames'), ...faults.in],
      out: [nic('inFrames'), cable('dropOverrun'), ...faults.out],
    },
    {
      name: 'NIC to queues',
      in: [nic('inFrames'), nicTx('toQueues'), nicTx('floodFrames')],
      out: [
        queue('frames'),
        queue('dropNoBuffer'),
        queue('dropDmaRefused'),
        queue('dropBadDescriptor'),
        queue('dropTooLong'),
        queue('dropFailed'),
        nic('dropRunt'),
        nic('dropOversize'),
        nic('dropNoQueue'),
      ],
    },
    // Buffers that the NIC refused come back as errors, too, but belong to no frame: they are in no equation.
    { name: 'default queue to driver', in: [queueTerm(c, true)], out: [driver('frames')] },
  ];

  if (path === 'native') {
    out.push({ name: 'driver to stack', in: [driver('frames')], out: [stack('inFrames')] });
  } else {
    out.push(
      { name: 'driver to bridge', in: [driver('frames')], out: [bridge('inFrames')] },
      {
        name: 'bridge',
        in: [bridge('inFrames')],
        out: [bridge('forwarded'), bridge('flooded'), bridge('dropHairpin'), bridge('dropNoPort')],
      },
      {
        name: 'bridge to netback',
        in: [bridge('forwarded'), bridge('floodCopies'), of('netbackTx', inDriverDomain)('vifFrames')],
        out: [netback('bridgeFrames')],
      },
      // In `direct` the guest drives its queue itself.
      path === 'direct'
        ? { name: 'NIC queues to guests', in: [queueTerm(c, false)], out: [guestDriver('frames')] }
        : {
            name: 'NIC queues to netback',
            in: [queueTerm(c, false)],
            out: [netback('nicFrames'), netback('dropNicError')],
          },
      {
        name: 'netback',
        in: [netback('nicFrames'), netback('bridgeFrames')],
        out: [
          netback('outFrames'),
          netback('dropQueueFull'),
          netback('dropStalled'),
          netback('dropGrantError'),
          netback('dropDisabled'),
        ],
      },
      {
        // netfront counts what netback answered with an error among its frames: frames that netback has dropped, and
        // buffers that could not be used.
        name: 'netback to netfront',
        in: [netback('outFrames'), netfront('dropError')],
        out: [netfront('frames')],
      },
      {
        name: 'netfront',
        in: path === 'direct' ? [netfront('frames'), guestDriver('frames')] : [netfront('frames')],
        out: [netfront('toStack'), netfront('dropError'), netfront('dropMalformed')],
      },
      {
        name: 'netfront to stack',
        in: [netfront('toStack')],
        out: [stack('inFrames'), of('net', inGuests)('inPackets')],
      },
    );
  }
  out.push(
    {
      name: 'stack',
      in: [stack('inFrames')],
      out: [
        stack('toSocket'),
        stack('dropNotMine'),
        stack('dropBadHeader'),
        stack('dropBadChecksum'),
        stack('dropNoSocket'),
      ],
    },
    {
      name: 'stack to application',
      in: [stack('toSocket')],
      out: [app('frames'), of('responder', receivers)('requests')],
    },
  );
  return out;
}

/** Frames of the default queue, or of all others. */
function queueTerm(c: Snapshot, isDefault: boolean): Term {
  let value = 0;
  for (const b of blocksOf(c, 'nicQueue', inNic)) {
    if ((b.labels['queue'] === 'default') === isDefault) value += b.values['frames'] ?? 0;
  }
  return { name: isDefault ? 'nicQueue[default].frames' : 'nicQueue[vif].frames', value };
}
