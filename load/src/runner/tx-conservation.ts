/** in = out + drops by reason, at each hop of what guests send, from the application to the far end of the cable. Up to the
 *  NIC what is counted are packets, which segmentation cuts there; behind it, frames. See rx-conservation.ts. */
import {
  everywhere,
  inDriverDomain,
  inGuests,
  inNic,
  sum,
  type BlockKind,
  type Snapshot,
  type Where,
} from './snapshot.js';
import { injectedHere } from './faults.js';
import type { Hop, Term } from './hop.js';
import { hops } from './rx-conservation.js';

const NETBACK_DROPS = [
  'dropBadRequest',
  'dropTooManySlots',
  'dropGrantError',
  'dropBadHeader',
  'dropSpoofed',
  'dropStorm',
  'dropHairpin',
  'dropNoPort',
  'dropNoRoom',
  'dropTooLong',
];

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
  const of =
    (kind: BlockKind, where: Where = everywhere) =>
    (counter: string): Term => ({ name: `${kind}.${counter}`, value: sum(c, kind, counter, where) });
  const senders = path === 'native' ? inDriverDomain : inGuests;
  const sender = of('sender', senders);
  const device = of('netfrontTx', senders);
  const netback = of('netbackTx', inDriverDomain);
  const nic = of('nicTx', inNic);
  const stack = of('stack', inNic);
  const faults = injectedHere(c, 'out');
  const out: Hop[] = [
    {
      name: 'application to device',
      in: [sender('packets'), of('responder', senders)('responses'), of('net', senders)('outPackets')],
      out: [device('packets')],
    },
    { name: 'answers to device', in: [device('packets')], out: [device('sent'), device('dropError')] },
  ];
  if (path === 'split') {
    const drops = NETBACK_DROPS.map(netback);
    out.push(
      { name: 'netfront to netback', in: [device('packets')], out: [netback('packets')] },
      {
        name: 'netback, transmit',
        in: [netback('packets')],
        out: [
          ...[netback('toUplink'), netback('toNic'), netback('toVif'), netback('flooded')],
          ...drops,
          netback('dropDisabled'),
        ],
      },
      {
        name: 'netback to NIC',
        in: [netback('toUplink'), netback('toNic'), netback('floodUplink')],
        out: [nic('packets')],
      },
      {
        name: 'errors of netback',
        in: [...drops, netback('nicErrors'), netback('vifErrors')],
        out: [device('dropError')],
      },
    );
  } else out.push({ name: 'device to NIC', in: [device('packets')], out: [nic('packets')] });
  out.push(
    {
      name: 'NIC, transmit',
      in: [nic('packets')],
      out: [
        ...[nic('sentPackets'), nic('dropBadDescriptor'), nic('dropDmaRefused'), nic('dropOversize')],
        ...[nic('dropSpoofed'), nic('dropStorm'), nic('dropHairpin')],
      ],
    },
    { name: 'NIC to cable', in: [nic('frames')], out: [of('egress', inNic)('frames'), nic('toQueues')] },
    {
      name: 'cable to far end',
      in: [of('egress', inNic)('frames'), ...faults.in],
      out: [stack('inFrames'), of('egress', inNic)('toStation'), ...faults.out],
    },
    {
      name: 'stack of the far end',
      in: [stack('inFrames')],
      out: [
        stack('toSocket'),
        stack('dropNotMine'),
        stack('dropBadHeader'),
        stack('dropBadChecksum'),
        stack('dropNoSocket'),
      ],
    },
    { name: 'far end to its application', in: [stack('toSocket')], out: [of('app', inNic)('frames')] },
  );
  return out;
}
