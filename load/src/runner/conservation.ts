/** Do all frames of a run add up? in = out + drops by reason + in flight, at each hop: looked at when the load has stopped and
 *  everything has come to rest, so nothing is in flight. Each equation reads two or more blocks that different services counted on
 *  their own: an error in one of them, or a frame that got lost silently, shows. Pure. */
import type { Factors } from '@grantline/base';
import { COUNTERS, type CounterKind, type CounterName } from '@grantline/observe';
import { blocksOf, inDriverDomain, inGuests, inNic, sum, type Snapshot, type Where } from '../control/snapshot.js';
import type { Direction } from './record.js';

type Path = Factors['path'];

interface Term {
  name: string;
  value: number;
}

export interface Hop {
  name: string;
  in: Term[];
  out: Term[];
}

const hop = (name: string, into: Term[], outOf: Term[]): Hop => ({ name, in: into, out: outOf });

/** Terms of the counters of a kind, added up over the services that are meant. */
interface Terms<N extends string> {
  (counter: N): Term;
  /** All reasons to drop that stand in an equation, but for those that stand in another. */
  drops(...but: N[]): Term[];
}

function terms<K extends CounterKind>(c: Snapshot, kind: K, where: Where): Terms<CounterName<K>> {
  const term = (counter: string): Term => ({ name: `${kind}.${counter}`, value: sum(c, kind, counter, where) });
  const { drops, counters } = COUNTERS.get(kind)!;
  const balanced = drops.filter((name) => counters[name].drop?.outside === null);
  return Object.assign(term, { drops: (...but: string[]) => balanced.filter((name) => !but.includes(name)).map(term) });
}

/** @returns 'ok', or each hop that does not add up, with its numbers */
export function checkConservation(c: Snapshot, path: Path, direction: Direction, tcp = false): 'ok' | string[] {
  const wrong: string[] = [];
  for (const { name, in: left, out: right } of [...hopsOf(c, path, direction, tcp), ...foundHops(c, path, direction)]) {
    const [into, outOf] = [total(left), total(right)];
    if (into !== outOf)
      wrong.push(`${name}: in ${into} (${list(left)}), out ${outOf} (${list(right)}), difference ${into - outOf}`);
  }
  return wrong.length === 0 ? 'ok' : wrong;
}

function hopsOf(c: Snapshot, path: Path, direction: Direction, tcp: boolean): Hop[] {
  // TCP goes both ways, and nothing of it is a measured frame.
  if (tcp) return [...rxHops(c, path), ...txHops(c, path)];
  if (direction === 'rx') return rxHops(c, path);
  if (direction === 'tx') return txHops(c, path);
  if (direction === 'rr') return [...rxHops(c, path), ...txHops(c, path), ...requestHops(c, path)];
  return betweenHops(c, path);
}

const total = (all: Term[]): number => all.reduce((n, t) => n + t.value, 0);
const list = (all: Term[]): string =>
  all
    .filter((t) => t.value !== 0)
    .map((t) => `${t.name} ${t.value}`)
    .join(' + ') || '0';

/** From the cable to the application. */
export function rxHops(c: Snapshot, path: Path): Hop[] {
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
  const fromVif = terms(c, 'netbackTx', inDriverDomain)('vifFrames');
  const bridged: Hop[] = [
    hop('driver to bridge', [driver('frames')], [bridge('inFrames')]),
    hop('bridge', [bridge('inFrames')], [bridge('forwarded'), bridge('flooded'), ...bridge.drops()]),
    hop('bridge to netback', [bridge('forwarded'), bridge('floodCopies'), fromVif], [netback('bridgeFrames')]),
    // In `direct` the guest drives its queue itself.
    path === 'direct'
      ? hop('NIC queues to guests', [queueTerm(c, false)], [guestDriver('frames')])
      : hop('NIC queues to netback', [queueTerm(c, false)], [netback('nicFrames'), netback('dropNicError')]),
    hop(
      'netback',
      [netback('nicFrames'), netback('bridgeFrames')],
      [netback('outFrames'), ...netback.drops('dropNicError')],
    ),
    // netfront counts what netback answered with an error among its frames: frames that netback has dropped, and buffers that could
    // not be used.
    hop('netback to netfront', [netback('outFrames'), netfront('dropError')], [netfront('frames')]),
    hop('netfront', path === 'direct' ? [netfront('frames'), guestDriver('frames')] : [netfront('frames')], [
      netfront('toStack'),
      ...netfront.drops(),
    ]),
    hop('netfront to stack', [netfront('toStack')], [stack('inFrames'), terms(c, 'net', inGuests)('inPackets')]),
  ];
  return [
    hop(
      'cable to NIC',
      [cable('sentFrames'), cable('stationFrames'), ...faults.in],
      [nic('inFrames'), ...cable.drops(), ...faults.out],
    ),
    hop(
      'NIC to queues',
      [nic('inFrames'), nicTx('toQueues'), nicTx('floodFrames')],
      [queue('frames'), ...queue.drops(), ...nic.drops()],
    ),
    // Buffers that the NIC refused come back as errors, too, but belong to no frame: they are in no equation.
    hop('default queue to driver', [queueTerm(c, true)], [driver('frames')]),
    ...(path === 'native' ? [hop('driver to stack', [driver('frames')], [stack('inFrames')])] : bridged),
    hop('stack', [stack('inFrames')], [stack('toSocket'), ...stack.drops()]),
    hop('stack to application', [stack('toSocket')], [app('frames'), terms(c, 'responder', receivers)('requests')]),
  ];
}

/** Frames of the default queue, or of all others. */
function queueTerm(c: Snapshot, isDefault: boolean): Term {
  const blocks = blocksOf(c, 'nicQueue', inNic).filter((b) => (b.labels['queue'] === 'default') === isDefault);
  return {
    name: isDefault ? 'nicQueue[default].frames' : 'nicQueue[vif].frames',
    value: blocks.reduce((n, b) => n + (b.values['frames'] ?? 0), 0),
  };
}

/** What guests send, from the application to the far end of the cable. Up to the NIC what is counted are packets, which segmentation
 *  cuts there; behind it, frames. */
export function txHops(c: Snapshot, path: Path): Hop[] {
  const senders = path === 'native' ? inDriverDomain : inGuests;
  const sender = terms(c, 'sender', senders);
  const device = terms(c, 'netfrontTx', senders);
  const netback = terms(c, 'netbackTx', inDriverDomain);
  const nic = terms(c, 'nicTx', inNic);
  const egress = terms(c, 'egress', inNic);
  const stack = terms(c, 'stack', inNic);
  const faults = injectedHere(c, 'out');
  const others = [terms(c, 'responder', senders)('responses'), terms(c, 'net', senders)('outPackets')];
  const taken = [netback('toUplink'), netback('toNic'), netback('toVif'), netback('flooded')];
  const split: Hop[] = [
    hop('netfront to netback', [device('packets')], [netback('packets')]),
    hop('netback, transmit', [netback('packets')], [...taken, ...netback.drops()]),
    hop('netback to NIC', [netback('toUplink'), netback('toNic'), netback('floodUplink')], [nic('packets')]),
    // A packet of a vif that is disabled is not answered.
    hop(
      'errors of netback',
      [...netback.drops('dropDisabled'), netback('nicErrors'), netback('vifErrors')],
      device.drops(),
    ),
  ];
  return [
    hop('application to device', [sender('packets'), ...others], [device('packets')]),
    hop('answers to device', [device('packets')], [device('sent'), ...device.drops()]),
    ...(path === 'split' ? split : [hop('device to NIC', [device('packets')], [nic('packets')])]),
    hop('NIC, transmit', [nic('packets')], [nic('sentPackets'), ...nic.drops()]),
    hop('NIC to cable', [nic('frames')], [egress('frames'), nic('toQueues')]),
    hop('cable to far end', [egress('frames'), ...faults.in], [stack('inFrames'), egress('toStation'), ...faults.out]),
    hop('stack of the far end', [stack('inFrames')], [stack('toSocket'), ...stack.drops()]),
    hop('far end to its application', [stack('toSocket')], [terms(c, 'app', inNic)('frames')]),
  ];
}

const BETWEEN_SENT = ['application to device', 'answers to device', 'netfront to netback', 'netback, transmit'];
const BETWEEN_RECEIVED = ['netfront', 'netfront to stack', 'stack', 'stack to application'];

/** What of both directions guests that send to each other take: transmit up to the bridge or the NIC's switch, then receive. */
export function betweenHops(c: Snapshot, path: Path): Hop[] {
  const split = path === 'split';
  const sent = [...BETWEEN_SENT, 'errors of netback'];
  const first = split
    ? ['bridge to netback', 'netback', 'netback to netfront']
    : ['NIC to queues', 'NIC queues to guests'];
  const received = [...first, ...BETWEEN_RECEIVED];
  return [
    ...txHops(c, path).filter(({ name }) => (split ? sent.includes(name) : !name.includes('far end'))),
    ...rxHops(c, path).filter(({ name }) => received.includes(name)),
  ];
}

/** What becomes of requests and of their answers, on top of both directions, where the path alone does not tell. */
export function requestHops(c: Snapshot, path: Path): Hop[] {
  const responder = terms(c, 'responder', path === 'native' ? inDriverDomain : inGuests);
  const requester = terms(c, 'requester', inNic);
  const far = terms(c, 'app', inNic);
  const came = [requester('answered'), requester('late'), requester('repeated')];
  const ended = [requester('answered'), requester('timeouts'), requester('inFlight')];
  return [
    hop('requests to responses', [responder('requests')], [responder('responses'), ...responder.drops()]),
    hop('responses to requester', [far('frames')], [...came, far('corrupt'), far('foreign')]),
    hop('requester', [requester('requests')], ended),
  ];
}

/** A counter of the injector of faults on the cable, in one direction. */
export function injected(c: Snapshot, direction: 'in' | 'out', counter: string): number {
  const blocks = blocksOf(c, 'faults', inNic).filter((b) => b.labels['direction'] === direction);
  return blocks.reduce((n, b) => n + (b.values[counter] ?? 0), 0);
}

const injectedTerm = (c: Snapshot, direction: 'in' | 'out', counter: string): Term => ({
  name: `faults[${direction}].${counter}`,
  value: injected(c, direction, counter),
});

/** What the injector adds on the left and on the right of the hop in which it stands. */
const injectedHere = (c: Snapshot, direction: 'in' | 'out'): { in: Term[]; out: Term[] } => ({
  in: [injectedTerm(c, direction, 'duplicated')],
  out: [injectedTerm(c, direction, 'lost'), injectedTerm(c, direction, 'held')],
});

/** What the receivers of a load found against what was injected: nothing more and nothing less. A delayed frame is
 *  overtaken by as many as come meanwhile, so with delays order is not held against it. Empty when nothing was injected. */
export function foundHops(c: Snapshot, path: Path, direction: Direction): Hop[] {
  if (direction !== 'rx' && direction !== 'tx') return [];
  const way = direction === 'rx' ? 'in' : 'out';
  const made = (counter: string): number => injected(c, way, counter);
  const madeTerm = (counter: string): Term => injectedTerm(c, way, counter);
  if (made('frames') === 0) return [];
  const where = direction === 'tx' ? inNic : path === 'native' ? inDriverDomain : inGuests;
  const app = terms(c, 'app', where);
  const corrupt = [app('corrupt'), app('foreign'), ...terms(c, 'stack', where).drops()];
  // The measuring stack of a guest does not sum TCP and UDP, its application compares the payload: a hit in such a header
  // may pass. The far end sums all.
  const found = total(corrupt);
  const passed = Math.min(made('headersHit'), Math.max(0, made('corrupted') - found));
  if (direction === 'rx') {
    corrupt.push({ name: 'hit in a TCP or UDP header and passed', value: passed });
    // A hit in type, protocol or port makes a frame look as if it were none of the load's: a guest's other stack gets it.
    const left = made('corrupted') - found - passed;
    const strays = Math.max(0, Math.min(left, sum(c, 'net', 'inPackets', where)));
    corrupt.push({ name: "taken for the TCP/IP stack's", value: strays });
  }
  // A receiver looks back so many frames of a flow only: what is delayed for longer it cannot tell from a repeat.
  const repeats = app('duplicate');
  const late = Math.max(0, Math.min(made('delayed'), repeats.value - made('duplicated')));
  const lateTerm = { name: 'delayed, and taken for repeats', value: late };
  const out = [
    hop('corrupted frames, and those that were found', [madeTerm('corrupted')], corrupt),
    hop('duplicated frames, and those that were found', [madeTerm('duplicated'), lateTerm], [repeats]),
  ];
  if (made('delayed') === 0) {
    const overtaken = app('reordered');
    // Held to be overtaken, given up, and yet late: behind a corrupted one, whose number the receiver could still read.
    const behind = Math.min(made('undone'), Math.max(0, overtaken.value - made('reordered')));
    const behindTerm = { name: 'given up, but behind a corrupted one', value: behind };
    out.push(hop('reordered frames, and those that were found', [madeTerm('reordered'), behindTerm], [overtaken]));
  }
  return out;
}

/** Every drop counter that is not 0, by "where.reason". */
export function dropsOf(c: Snapshot): Record<string, number> {
  const out: Record<string, number> = {};
  for (const b of c.flatMap((s) => s.blocks))
    for (const [name, value] of Object.entries(b.values)) {
      if (value === 0 || !/^drop[A-Z]/.test(name)) continue;
      const key = `${b.kind}.${name}`;
      out[key] = (out[key] ?? 0) + value;
    }
  return out;
}
