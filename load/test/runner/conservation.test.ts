import {
  foundHops,
  checkConservation,
  rxHops,
  type Hop,
  requestHops,
  betweenHops,
  txHops,
} from '../../src/runner/conservation.js';
import t from 'tap';
import { COUNTERS } from '@grantline/observe';
import type { ServiceName, ServiceSnapshot } from '../../src/control/snapshot.js';

type Values = Record<string, number>;
type Path = 'split' | 'direct' | 'native';

/** A run in which something of everything happened, and everything adds up: two guests, frames by both ways, and each
 *  drop at least once. */
function run(path: Path) {
  const cable = { sentFrames: 100_000, dropOverrun: 30 };
  const nic = { inFrames: 99_970, dropRunt: 1, dropOversize: 2, dropNoQueue: 7 };
  const drops = { dropNoBuffer: 5, dropDmaRefused: 1, dropBadDescriptor: 2, dropTooLong: 2 };
  const own = path === 'native' ? 0 : 50_000;
  const dflt = { frames: 99_950 - own, ...drops, dmaRefused: 4, badDescriptors: 1 };
  const vif = { frames: own, dropNoBuffer: 0, dropDmaRefused: 0, dropBadDescriptor: 0, dropTooLong: 0, dmaRefused: 3 };
  const driver = { frames: dflt.frames, errors: 5 };
  const blocks: Record<string, [string, Values][]> = {
    nic: [
      ['cable', cable],
      ['nic', nic],
      ['nicQueue', dflt],
    ],
  };
  const stackOf = (inFrames: number): [string, Values][] => {
    const lost = { dropNotMine: 6, dropBadHeader: 4, dropBadChecksum: 3, dropNoSocket: 2 };
    return [
      ['stack', { inFrames, toSocket: inFrames - 15, ...lost }],
      ['app', { frames: inFrames - 15 }],
    ];
  };
  blocks['driver-domain'] = [['driver', driver]];
  if (path === 'native') blocks['driver-domain'].push(...stackOf(driver.frames));
  else {
    blocks.nic.push(['nicQueue', vif]);
    const bridge = { inFrames: driver.frames, flooded: 10, floodCopies: 20, dropHairpin: 3, dropNoPort: 4 };
    const forwarded = driver.frames - 17;
    const nicFrames = path === 'split' ? own - 1 : 0;
    const lost = { dropQueueFull: 9, dropStalled: 8, dropGrantError: 7, dropDisabled: 6 };
    const outFrames = nicFrames + forwarded + 20 - 30;
    const netback = {
      nicFrames,
      bridgeFrames: forwarded + 20,
      outFrames,
      ...lost,
      ...(path === 'split' && { dropNicError: 1 }),
    };
    blocks['driver-domain'].push(['bridge', { ...bridge, forwarded }], ['netback', netback]);
    // Errors: the seven frames above, and four buffers that the NIC had refused.
    const byGuest = path === 'direct' ? own : 0;
    const toStack = outFrames - 1 + byGuest;
    blocks.guest1 = [
      ['netfront', { frames: outFrames + 11, toStack, dropError: 11, dropMalformed: 1 }],
      ...stackOf(toStack),
    ];
    if (path === 'direct') blocks.guest1.push(['driver', { frames: byGuest, errors: 3 }]);
  }
  const snap = Object.entries(blocks).map(([name, list], i): ServiceSnapshot => ({
    name: name as ServiceName,
    kind: name === 'guest1' ? 'guest' : (name as 'nic' | 'driver-domain'),
    domid: i,
    atNs: 0,
    processCpuNs: 0,
    dataThreadCpuNs: 0,
    rssBytes: 0,
    blocks: list.map(([kind, values], at) => ({
      kind,
      labels: kind === 'nicQueue' ? { queue: at === 2 ? 'default' : 'vif1.0' } : {},
      values: { ...values },
    })),
  }));
  return snap;
}

const PATHS: Path[] = ['split', 'direct', 'native'];

t.test('a run with every kind of drop is conserved, errors and refused buffers included', (t) => {
  for (const path of PATHS) t.equal(checkConservation(run(path), path, 'rx'), 'ok', path);
  t.end();
});

t.test('one frame more or less in any counter of any hop is found, and the hops of that counter are named', (t) => {
  const wrong: string[] = [];
  let tried = 0;
  for (const path of PATHS) {
    const all = rxHops(run(path), path);
    for (const by of [-1, 1]) {
      for (const [s, service] of run(path).entries()) {
        for (const [b, block] of service.blocks.entries()) {
          for (const counter of Object.keys(block.values)) {
            const what = `${path}: ${service.name} ${block.kind}.${counter} ${by}`;
            const bent = run(path);
            bent[s].blocks[b].values[counter] += by;
            const after = rxHops(bent, path);
            // Hops in which the counter stands on one side, by its effect on the sums.
            const total = (terms: { value: number }[]): number => terms.reduce((n, x) => n + x.value, 0);
            const touched = after.filter(
              (h, i) => total(h.in) !== total(all[i].in) || total(h.out) !== total(all[i].out),
            );
            const found = checkConservation(bent, path, 'rx');
            const names = touched.map((h) => h.name);
            const said = found === 'ok' ? [] : found.map((f) => f.split(':')[0]);
            // What is of buffers stands in no hop.
            const ofBuffers = ['errors', 'dmaRefused', 'badDescriptors'].includes(counter);
            if (ofBuffers !== (names.length === 0) || said.join() !== names.join())
              wrong.push(`${what}: ${said.join()}`);
            tried++;
          }
        }
      }
    }
  }
  t.same(wrong, []);
  t.ok(tried > 200, `${tried} counters bent`);
  t.end();
});

t.test('each hop is broken by one frame that vanishes in it', (t) => {
  for (const path of PATHS) {
    for (const hop of rxHops(run(path), path)) {
      const found = checkConservation(bendOut(run(path), path, hop.name), path, 'rx');
      t.ok(Array.isArray(found) && found.some((f) => f.startsWith(`${hop.name}: `)), `${path}: ${hop.name}`);
    }
  }
  t.end();
});

/** The hops of all directions. */
const all = (path: Path): Hop[] => [
  ...rxHops([], path),
  ...txHops([], path),
  ...betweenHops([], path),
  ...requestHops([], path),
];

t.test('every reason to drop that is counted leaves a hop, or says why it stands in none', (t) => {
  const terms = (of: (hop: Hop) => Hop['in']): Set<string> =>
    new Set(all('split').flatMap((h) => of(h).map((x) => x.name)));
  const left = terms((h) => h.out);
  const found = terms((h) => [...h.in, ...h.out]);
  const outside = new Map<string, Set<string>>();
  const wrong = [...COUNTERS].flatMap(([kind, { drops, counters }]) =>
    drops
      .filter((name) => {
        const why = counters[name].drop!.outside;
        if (why === null) return !left.has(`${kind}.${name}`);
        outside.set(kind, (outside.get(kind) ?? new Set()).add(name));
        return found.has(`${kind}.${name}`) || why.length < 20;
      })
      .map((name) => `${kind}.${name}`),
  );
  t.same(wrong, []);
  t.same([...outside.keys()].sort(), ['cable', 'net', 'tap']);
  t.same([...outside.get('cable')!], ['dropHeld'], 'of the path, only what was never sent');
  t.end();
});

t.test(
  'every term of a hop is a counter that there is: one that nobody counts would be 0, and the hop say nothing',
  (t) => {
    const unknown = PATHS.flatMap(all)
      .flatMap((h) => [...h.in, ...h.out].map((x) => x.name.replace(/\[.*\]/, '')))
      .filter((name) => COUNTERS.get(name.split('.')[0])?.names.includes(name.split('.')[1]) !== true);
    t.same([...new Set(unknown)], []);
    t.end();
  },
);

t.test('a frame that netback answered with an error is neither lost nor counted twice', (t) => {
  const snap = run('split');
  const of = (kind: string): Values => snap.flatMap((s) => s.blocks).find((b) => b.kind === kind)!.values;
  of('netback').outFrames--;
  of('netback').dropGrantError++;
  of('netfront').dropError++;
  of('netfront').toStack--;
  of('stack').inFrames--;
  of('stack').toSocket--;
  of('app').frames--;
  t.equal(checkConservation(snap, 'split', 'rx'), 'ok');
  of('netfront').dropError--;
  of('netfront').frames--;
  t.equal(
    checkConservation(snap, 'split', 'rx'),
    'ok',
    'an answer that netfront has not counted is none of its frames',
  );
  of('netfront').frames--;
  t.match(checkConservation(snap, 'split', 'rx'), [
    /^netback to netfront: .*difference 1/,
    /^netfront: .*difference -1/,
  ]);
  t.end();
});

/** Takes one frame out of the first counter on the out side of a hop. */
function bendOut(snap: ServiceSnapshot[], path: Path, hop: string): ServiceSnapshot[] {
  const [kind, counter] = rxHops(snap, path)
    .find((h) => h.name === hop)!
    .out[0].name.replace(/\[.*\]/, '')
    .split('.');
  const holder = snap.flatMap((s) => s.blocks).filter((b) => b.kind === kind && (b.values[counter] ?? 0) > 0);
  holder[hop === 'NIC queues to guests' ? holder.length - 1 : 0].values[counter]--;
  return snap;
}

t.test('frames that are delayed for longer than a receiver looks back pass for repeats, and no others do', (t) => {
  const zero = { atNs: 0, processCpuNs: 0, dataThreadCpuNs: 0, rssBytes: 0 };
  const balance = (delayed: number, duplicated: number, found: number): number => {
    const injector = {
      name: 'f',
      kind: 'faults',
      labels: { direction: 'in' },
      values: { frames: 100, delayed, duplicated },
    };
    const app = { name: 'a', kind: 'app', labels: {}, values: { duplicate: found } };
    const hops = foundHops(
      [
        { ...zero, name: 'nic', kind: 'nic', domid: 2, blocks: [injector] },
        { ...zero, name: 'guest1', kind: 'guest', domid: 1, blocks: [app] },
      ],
      'split',
      'rx',
    );
    const hop = hops.find((h) => h.name.startsWith('duplicated'))!;
    const total = (terms: { value: number }[]): number => terms.reduce((n, { value }) => n + value, 0);
    return total(hop.out) - total(hop.in);
  };
  t.equal(balance(20, 0, 7), 0, 'as many as were too late');
  t.equal(balance(20, 5, 12), 0, 'beside repeats');
  t.equal(balance(20, 0, 21), 1, 'never more than were delayed');
  t.equal(balance(20, 5, 4), -1, 'a repeat that is missed shows');
  t.equal(balance(0, 5, 6), 1, 'nor where none was');
  t.end();
});
