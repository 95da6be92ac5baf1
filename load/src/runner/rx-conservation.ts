/** in = out + drops by reason + in flight, at each hop from the cable to the application. Pure; looked at when the load
 *  has stopped and everything has come to rest, so nothing is in flight. Each equation reads two or more blocks that
 *  different services counted on their own: an error in one of them, or a frame that got lost silently, shows. */
import { injectedHere } from './faults.js';
import { terms, type Hop, type Term } from './hop.js';
import { blocksOf, inDriverDomain, inGuests, inNic, type Snapshot } from '../control/snapshot.js';

/** The hops of a snapshot with their numbers: for the check, and for `dump`. */
export function hops(c: Snapshot, path: 'split' | 'direct' | 'native'): Hop[] {
  const cable = terms(c, 'cable', inNic);
  const nic = terms(c, 'nic', inNic);
  const queue = terms(c, 'nicQueue', inNic);
  const nicTx = terms(c, 'nicTx', inNic);
  const driver = terms(c, 'driver', inDriverDomain);
  const guestDriver = terms(c, 'driver', inGuests);
  const bridge = terms(c, 'bridge', inDriverDomain);
  const netback = terms(c, 'netback', inDriverDomain);
  const netfront = terms(c, 'netfront', inGuests);
  const receivers = path === 'native' ? inDriverDomain : inGuests;
  const stack = terms(c, 'stack', receivers);
  const app = terms(c, 'app', receivers);

  const faults = injectedHere(c, 'in');
  const out: Hop[] = [
    {
      name: 'cable to NIC',
      in: [cable('sentFrames'), cable('stationFrames'), ...faults.in],
      out: [nic('inFrames'), ...cable.drops(), ...faults.out],
    },
    {
      name: 'NIC to queues',
      in: [nic('inFrames'), nicTx('toQueues'), nicTx('floodFrames')],
      out: [queue('frames'), ...queue.drops(), ...nic.drops()],
    },
    // Buffers that the NIC refused come back as errors, too, but belong to no frame: they are in no equation.
    { name: 'default queue to driver', in: [queueTerm(c, true)], out: [driver('frames')] },
  ];

  if (path === 'native') {
    out.push({ name: 'driver to stack', in: [driver('frames')], out: [stack('inFrames')] });
  } else {
    out.push(
      { name: 'driver to bridge', in: [driver('frames')], out: [bridge('inFrames')] },
      { name: 'bridge', in: [bridge('inFrames')], out: [bridge('forwarded'), bridge('flooded'), ...bridge.drops()] },
      {
        name: 'bridge to netback',
        in: [bridge('forwarded'), bridge('floodCopies'), terms(c, 'netbackTx', inDriverDomain)('vifFrames')],
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
        out: [netback('outFrames'), ...netback.drops('dropNicError')],
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
        out: [netfront('toStack'), ...netfront.drops()],
      },
      {
        name: 'netfront to stack',
        in: [netfront('toStack')],
        out: [stack('inFrames'), terms(c, 'net', inGuests)('inPackets')],
      },
    );
  }
  out.push(
    { name: 'stack', in: [stack('inFrames')], out: [stack('toSocket'), ...stack.drops()] },
    {
      name: 'stack to application',
      in: [stack('toSocket')],
      out: [app('frames'), terms(c, 'responder', receivers)('requests')],
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
