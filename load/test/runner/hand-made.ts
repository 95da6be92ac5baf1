/** Snapshots made by hand: a run of N frames in which everything adds up, for tests to bend. */
import type { BlockSnapshot } from '@grantline/machine';
import type { ServiceName, ServiceSnapshot } from '../../src/control/snapshot.js';

export interface Bend {
  /** "service/kind.counter" → what to add. */
  [where: string]: number;
}

const block = (kind: string, values: Record<string, number>, labels: Record<string, string> = {}): BlockSnapshot => ({
  kind,
  labels,
  values,
});

function service(
  name: ServiceName,
  kind: ServiceSnapshot['kind'],
  domid: number,
  seconds: number,
  cpu: Record<string, number>,
  blocks: BlockSnapshot[],
): ServiceSnapshot {
  const data = Object.values(cpu).reduce((a, b) => a + b, 0);
  return {
    name,
    kind,
    domid,
    atNs: 1e12 + seconds * 1e9,
    // A tenth on top for the collector and the compiler.
    processCpuNs: data * 1.1,
    dataThreadCpuNs: data,
    rssBytes: 80e6,
    blocks: [block('cpu', cpu), ...blocks],
  };
}

/** One guest, path split with one NIC queue (`baseline`): `n` frames of 1514 bytes, 100 of which the bridge dropped no
 *  one; each with one hypervisor copy, after `seconds`. */
export function baselineAt(n: number, seconds: number, bend: Bend = {}): ServiceSnapshot[] {
  const bytes = n * 1514;
  const snap = [
    service(
      'hypervisor',
      'hypervisor',
      0,
      seconds,
      { wakeup: 10 * n, control: 0, hypercalls: 100 * n, transport: 40 * n },
      [
        block(
          'hypercalls',
          {
            calls: n / 50,
            mapOps: 0,
            unmapOps: 0,
            copyOps: n,
            copiedBytes: bytes,
            dmaMapOps: 0,
            dmaUnmapOps: 0,
            cpuNs: 100 * n,
            transportNs: 40 * n,
          },
          { domain: '1000' },
        ),
      ],
    ),
    service(
      'driver-domain',
      'driver-domain',
      1000,
      seconds,
      { wakeup: 10 * n, control: 10 * n, driver: 60 * n, bridge: 40 * n, netback: 150 * n, grantCalls: 30 * n },
      [
        block('driver', { frames: n, bytes, errors: 0, notifications: n / 100, suppressed: n / 50 }),
        block('bridge', { inFrames: n, forwarded: n, flooded: 0, floodCopies: 0, dropHairpin: 0, dropNoPort: 0 }),
        block(
          'netback',
          {
            nicFrames: 0,
            bridgeFrames: n,
            outFrames: n,
            outBytes: bytes,
            dropQueueFull: 0,
            dropStalled: 0,
            dropGrantError: 0,
            dropNicError: 0,
            dropDisabled: 0,
            localCopies: 0,
            localCopiedBytes: 0,
            notifications: n / 50,
            suppressed: 0,
          },
          { vif: 'vif1.0' },
        ),
        block('loop', { wakeups: n / 200 }),
      ],
    ),
    service('nic', 'nic', 1001, seconds, { wakeup: 0, control: 0, generator: 80 * n, nic: 90 * n }, [
      block('cable', { sentFrames: n, sentBytes: bytes, dropOverrun: 0, pausedNs: 0 }),
      block('nic', { inFrames: n, inBytes: bytes, dropRunt: 0, dropOversize: 0, dropNoQueue: 0 }),
      block(
        'nicQueue',
        {
          frames: n,
          bytes,
          dropNoBuffer: 0,
          dropDmaRefused: 0,
          dropBadDescriptor: 0,
          dropTooLong: 0,
          notifications: n / 100,
          suppressed: 0,
        },
        { queue: 'default' },
      ),
      block('loop', { wakeups: n / 10 }),
    ]),
    service(
      'guest1',
      'guest',
      1,
      seconds,
      { wakeup: 5 * n, control: 5 * n, netfront: 100 * n, stack: 80 * n, application: 110 * n },
      [
        block(
          'netfront',
          { frames: n, bytes, toStack: n, dropError: 0, dropMalformed: 0, notifications: n / 100, suppressed: 0 },
          { vif: 'vif1.0' },
        ),
        block('stack', {
          inFrames: n,
          toSocket: n,
          segments: n,
          coalesced: 0,
          dropNotMine: 0,
          dropBadHeader: 0,
          dropBadChecksum: 0,
          dropNoSocket: 0,
        }),
        block('app', {
          frames: n,
          bytes,
          payloadBytes: n * 1472,
          copies: n,
          corrupt: 0,
          duplicate: 0,
          reordered: 0,
          missing: 0,
          foreign: 0,
        }),
        block('latency', { count: n, sumNs: n * 50_000, maxNs: 90_000, lt65536: n }),
        block('loop', { wakeups: n / 100 }),
      ],
    ),
  ];
  for (const [where, by] of Object.entries(bend)) {
    const [name, rest] = where.split('/') as [string, string];
    const [kind, counter] = rest.split('.') as [string, string];
    const target = snap.find((s) => s.name === name)?.blocks.find((b) => b.kind === kind);
    if (target === undefined || !(counter in target.values)) throw new Error(`no ${where}`);
    target.values[counter] += by;
  }
  return snap;
}
