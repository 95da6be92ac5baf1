/** in = out + drops by reason, at each hop of what guests send, from the application to the far end of the cable. Up to the
 *  NIC what is counted are packets, which segmentation cuts there; behind it, frames. See rx-conservation.ts. */
import { inDriverDomain, inGuests, inNic, type Snapshot } from '../control/snapshot.js';
import { injectedHere } from './faults.js';
import { terms, type Hop } from './hop.js';
import { hops } from './rx-conservation.js';

/** Hops of what guests send to each other: those of transmit up to the bridge, then those of receive. */
export function betweenHops(c: Snapshot, path: 'split' | 'direct' | 'native'): Hop[] {
  if (path !== 'split') {
    const names = [
      'NIC to queues',
      'NIC queues to guests',
      'netfront',
      'netfront to stack',
      'stack',
      'stack to application',
    ];
    return [
      ...txHops(c, path).filter((h) => !h.name.includes('far end')),
      ...hops(c, path).filter((h) => names.includes(h.name)),
    ];
  }
  const sending = ['application to device', 'answers to device', 'netfront to netback', 'netback, transmit'];
  const receiving = ['bridge to netback', 'netback', 'netback to netfront', 'netfront', 'netfront to stack', 'stack'];
  return [
    ...txHops(c, 'split').filter((h) => [...sending, 'errors of netback'].includes(h.name)),
    ...hops(c, 'split').filter((h) => [...receiving, 'stack to application'].includes(h.name)),
  ];
}

/** The hops of a snapshot with their numbers. */
export function txHops(c: Snapshot, path: 'split' | 'direct' | 'native'): Hop[] {
  const senders = path === 'native' ? inDriverDomain : inGuests;
  const sender = terms(c, 'sender', senders);
  const device = terms(c, 'netfrontTx', senders);
  const netback = terms(c, 'netbackTx', inDriverDomain);
  const nic = terms(c, 'nicTx', inNic);
  const egress = terms(c, 'egress', inNic);
  const stack = terms(c, 'stack', inNic);
  const faults = injectedHere(c, 'out');
  const out: Hop[] = [
    {
      name: 'application to device',
      in: [sender('packets'), terms(c, 'responder', senders)('responses'), terms(c, 'net', senders)('outPackets')],
      out: [device('packets')],
    },
    { name: 'answers to device', in: [device('packets')], out: [device('sent'), ...device.drops()] },
  ];
  if (path === 'split') {
    out.push(
      { name: 'netfront to netback', in: [device('packets')], out: [netback('packets')] },
      {
        name: 'netback, transmit',
        in: [netback('packets')],
        out: [netback('toUplink'), netback('toNic'), netback('toVif'), netback('flooded'), ...netback.drops()],
      },
      {
        name: 'netback to NIC',
        in: [netback('toUplink'), netback('toNic'), netback('floodUplink')],
        out: [nic('packets')],
      },
      {
        // A packet of a vif that is disabled is not answered.
        name: 'errors of netback',
        in: [...netback.drops('dropDisabled'), netback('nicErrors'), netback('vifErrors')],
        out: device.drops(),
      },
    );
  } else out.push({ name: 'device to NIC', in: [device('packets')], out: [nic('packets')] });
  out.push(
    { name: 'NIC, transmit', in: [nic('packets')], out: [nic('sentPackets'), ...nic.drops()] },
    { name: 'NIC to cable', in: [nic('frames')], out: [egress('frames'), nic('toQueues')] },
    {
      name: 'cable to far end',
      in: [egress('frames'), ...faults.in],
      out: [stack('inFrames'), egress('toStation'), ...faults.out],
    },
    { name: 'stack of the far end', in: [stack('inFrames')], out: [stack('toSocket'), ...stack.drops()] },
    { name: 'far end to its application', in: [stack('toSocket')], out: [terms(c, 'app', inNic)('frames')] },
  );
  return out;
}
