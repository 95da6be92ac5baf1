/** The testbed of a run: who takes part, getting them ready, and waiting until all is at rest. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { RunSettings } from '@grantline/base';
import { RunError } from '../base/errors.js';
import { untilNothingLeft } from '../base/standstill.js';
import { runningGuests, type Client, type DomainInfo, type ServiceClient } from '../control/client.js';
import { sum, type Snapshot } from '../control/snapshot.js';
import type { Placed } from '../testbed/placement.js';
import { observers, type Observer } from './observer.js';

/** A testbed with the guests that take part. */
export interface Bed {
  client: Client;
  services: ServiceClient[];
  nic: ServiceClient;
  guests: DomainInfo[];
  observer: Observer;
  /** Where its data threads run; not given: it is not known, and on another machine perhaps. */
  placed?: Placed;
  /** Whose testbed it is, for results. */
  testbed?: string;
  /** Aborted: whatever goes on with it is to end, and to leave it as it was. */
  signal?: AbortSignal;
}

/** So long no receiver may get ready. */
const READY_STAND_MS = 10_000;
const DRAIN_LIMIT_MS = 2000;
const DRAIN_LOOK_MS = 40;

/** @param guests how many of the running guests take part. @throws RunError when there are fewer */
export async function openBed(
  client: Client,
  guests: number,
  observer: Observer = observers(),
  signal?: AbortSignal,
): Promise<Bed> {
  const running = runningGuests(await client.testbed()).sort((x, y) => x.domid - y.domid);
  if (running.length < guests) throw new RunError(`the testbed has ${running.length} guests, ${guests} are asked for`);
  const services = await client.services();
  const nic = services.find((s) => s.kind === 'nic');
  if (!nic) throw new RunError('the testbed has no NIC');
  return { client, services, nic, guests: running.slice(0, guests), observer, ...(signal ? { signal } : {}) };
}

/** Tells the receivers what comes and waits until they are ready. @returns the run's id */
export async function announceRun(bed: Bed, native: boolean, run: Omit<RunSettings, 'id' | 'guests'>): Promise<string> {
  const id = ((await bed.client.run()).run?.id ?? 0) + 1;
  const guests = bed.guests.map((g) => g.domid);
  await bed.client.putRun({ ...run, id, guests });
  const wanted = native ? bed.services.filter((s) => s.kind === 'driver-domain').map((s) => s.domid) : guests;
  await untilNothingLeft(
    async () => {
      const { ready } = await bed.client.run();
      const missing = wanted.filter((d) => !ready.includes(d));
      return missing.length === 0 ? null : `domain ${missing.join(', ')} did not get ready for the run`;
    },
    { standMs: READY_STAND_MS, everyMs: 10 },
  );
  return String(id);
}

/** @throws RunError when a guest of the run has ended meanwhile: what was measured is not what was asked for */
export async function checkGuests(bed: Pick<Bed, 'client' | 'guests'>): Promise<void> {
  const { domains } = await bed.client.testbed();
  const running = new Set(domains.filter((d) => d.state === 'running').map((d) => d.domid));
  const dead = bed.guests.filter((g) => !running.has(g.domid)).map((g) => `guest${g.domid}`);
  if (dead.length > 0) throw new RunError(`${dead.join(', ')} died during the run`);
}

/** Waits until no frame moves any more. @returns the snapshot in which all is at rest
 *  @throws RunError when something still moves after the limit */
export async function drain(bed: Bed): Promise<Snapshot> {
  const end = performance.now() + DRAIN_LIMIT_MS;
  let before = '';
  for (;;) {
    const snap = await bed.client.snapshot(bed.services);
    const now = movement(snap);
    if (now === before) return snap;
    if (performance.now() > end)
      throw new RunError(`frames were still moving ${DRAIN_LIMIT_MS / 1000} s after the load stopped`);
    before = now;
    await sleep(DRAIN_LOOK_MS);
  }
}

function movement(snap: Snapshot): string {
  return [
    sum(snap, 'cable', 'sentFrames') + sum(snap, 'cable', 'stationFrames'),
    sum(snap, 'net', 'inPackets') + sum(snap, 'net', 'outPackets'),
    sum(snap, 'nic', 'inFrames'),
    sum(snap, 'driver', 'frames'),
    sum(snap, 'netback', 'outFrames'),
    sum(snap, 'netfront', 'frames'),
    sum(snap, 'stack', 'inFrames'),
    sum(snap, 'app', 'frames'),
    sum(snap, 'sender', 'frames'),
    sum(snap, 'netfrontTx', 'sent') + sum(snap, 'netfrontTx', 'dropError'),
    sum(snap, 'egress', 'frames'),
    sum(snap, 'responder', 'requests'),
    sum(snap, 'faults', 'held'),
  ].join(' ');
}
