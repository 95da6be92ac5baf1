/** The load of a run: what of it is announced, how it begins, and how all of it ends. */
import type { RunSettings } from '@grantline/base';
import type { DomainInfo, ServiceClient } from '../control/client.js';
import { startStreams, stopStreams } from '../control/edge.js';
import { faultsOf, setFaults } from './faults.js';
import { startLoad, stopLoad, type GeneratorLoad } from '../control/nic-load.js';
import { startRequests, stopRequests } from './requests.js';
import type { Bed } from './bed.js';
import type { RunPlan } from './run-plan.js';
import { FAR_STATION, sendOrder, startSending, stopSending } from '../control/send-load.js';

/** Frames of the load beside requests. */
const BULK_BYTES = 1514;

/** What a run in which guests send adds to what is announced. */
export function sendPart(plan: RunPlan, guests: readonly DomainInfo[]): Partial<RunSettings> {
  const { protocol, flows, frameSizes, seed } = plan;
  // One flow to each guest, and back.
  if (plan.direction === 'rr') return { direction: 'rr', protocol: 'udp', flows: 1, to: FAR_STATION };
  const part = { direction: 'tx' as const, protocol, flows, to: FAR_STATION, order: sendOrder(frameSizes, seed) };
  return plan.direction === 'guest-to-guest' ? { ...part, pairs: pairsOf(guests) } : part;
}

/** Who sends to whom: the first guest to the second, the third to the fourth. */
const pairsOf = (guests: readonly DomainInfo[]): { from: number; to: { mac: string; ip: string } }[] =>
  guests.flatMap((g, i) => {
    const peer = guests[i + 1];
    return i % 2 === 1 || !peer ? [] : [{ from: g.domid, to: { mac: peer.mac ?? '', ip: peer.ip ?? '' } }];
  });

/** Those that send in a run of what guests send: all that take part, the first of each pair, or in native the domain that
 *  the application sits in. */
function sendersOf(bed: Bed, plan: RunPlan, native: boolean): ServiceClient[] {
  const pairs = plan.direction === 'guest-to-guest' ? pairsOf(bed.guests).map((p) => p.from) : null;
  const domids = new Set(pairs ?? bed.guests.map((g) => g.domid));
  return bed.services.filter((s) => (native ? s.kind === 'driver-domain' : domids.has(s.domid)));
}

export class RunLoad {
  private readonly bed: Bed;
  private readonly plan: RunPlan;
  private readonly native: boolean;
  /** What ends the parts that were begun, or whose beginning failed half way. */
  private readonly ends: (() => Promise<unknown>)[] = [];

  constructor(bed: Bed, plan: RunPlan, native: boolean) {
    this.bed = bed;
    this.plan = plan;
    this.native = native;
  }

  /** @param run as it was announced; streams are not */
  async begin(run: string): Promise<void> {
    const { bed, plan } = this;
    const { nic, guests } = bed;
    const { rr, streams, faults, seed, linkGbps } = plan;
    if (faults) {
      const found = await faultsOf(nic);
      await this.with(
        () => setFaults(nic, faults),
        () => setFaults(nic, found),
      );
    }
    if (rr) {
      const to = guests.map((g) => ({ mac: g.mac ?? '', ip: g.ip ?? '' }));
      const start = { seed, guests: to, frameBytes: plan.frameSizes[0], linkGbps };
      await this.with(
        () => startRequests(nic, start, rr),
        () => stopRequests(nic),
      );
      if (rr.beside === 'bulk') await this.generate(run, BULK_BYTES);
    } else if (streams !== undefined) {
      const direction = plan.direction === 'tx' ? 'tx' : 'rx';
      await this.with(
        () => startStreams(nic, { ips: guests.map((g) => g.ip ?? ''), direction, streams, linkGbps }),
        () => stopStreams(nic),
      );
    } else if (plan.direction === 'tx' || plan.direction === 'guest-to-guest') {
      const senders = sendersOf(bed, plan, this.native);
      await this.with(
        () => startSending(senders),
        () => stopSending(senders),
      );
    } else await this.generate(run, plan.frameSizes.length === 1 ? plan.frameSizes[0] : 'imix');
  }

  /** Ends what was begun, all of it, the last first. @throws the first failure */
  async end(): Promise<void> {
    const failures: unknown[] = [];
    for (let end = this.ends.pop(); end !== undefined; end = this.ends.pop())
      await end().catch((error: unknown) => failures.push(error));
    if (failures.length > 0) throw failures[0];
  }

  private async with(begin: () => Promise<unknown>, end: () => Promise<unknown>): Promise<void> {
    this.ends.push(end);
    await begin();
  }

  private generate(run: string, frameBytes: number | 'imix'): Promise<void> {
    const { plan } = this;
    const { nic, guests } = this.bed;
    const load: GeneratorLoad = {
      ...{ kind: 'generate', run, seed: plan.seed, frameBytes, protocol: plan.protocol },
      guests: guests.map((g) => ({ domid: g.domid, mac: g.mac ?? '', ip: g.ip ?? '' })),
      flowsPerGuest: plan.flows,
      linkGbps: plan.linkGbps,
      pause: plan.flowControl,
    };
    return this.with(
      () => startLoad(nic, load),
      () => stopLoad(nic),
    );
  }
}
