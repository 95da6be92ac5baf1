/** Queues come and go, domains come and go: the hypervisor's events to the NIC. docs/wire/control-plane.md section 3. */
import { closeSync } from 'node:fs';
import {
  NICQ_SIZE,
  VIF_DEV,
  vifName,
  type EventChannels,
  type EventChannel,
  type AttachArgs as QueueArgs,
  type WireError,
} from '@grantline/xen';
import type { CounterBlock, CounterFile, AddressSpace, Logs } from '@grantline/machine';
import { NIC_QUEUE_COUNTERS, NIC_TX_COUNTERS, type Reading } from '@grantline/observe';
import { DOMID_DRIVER, MAX_GUESTS, PAGE_SIZE, parseDomId, type DomId, type Port } from '@grantline/base';
import { keyOf, parseMac, formatIp, type SourceRule } from '@grantline/frames';
import type { HypervisorClient } from '@grantline/service';
import type { DmaReader } from '../data/dma.js';
import { NicRxQueue } from '../data/rx-queue.js';
import type { Nic } from '../data/nic.js';
import type { NicTx } from '../data/nic-tx.js';
import type { QueueFault, QueueSettings } from '../data/nic-queue.js';
import { NicTxQueue } from '../data/tx-queue.js';

interface Lane {
  /** The last work for the domain itself. */
  own: Promise<void>;
  /** Work for others that needs the domain to stay as it is. */
  uses: Promise<unknown>;
}

/** Work for domains that must not be mixed up: what is done for one domain is done in the order in which it came, and nobody waits for
 *  what is done for another. */
class Lanes {
  private readonly lanes = new Map<number, Lane>();
  private readonly failed: (err: unknown) => void;

  /** @param failed told of work that threw; what comes behind it goes on */
  constructor(failed: (err: unknown) => void) {
    this.failed = failed;
  }

  /** Does it once all that came before for `domid` is done, and all that came before for `used` itself.
   *  @param used another domain that it needs: what comes later for that one waits for this */
  do(domid: number, job: () => Promise<void> | void, used = domid): void {
    const lane = this.of(domid);
    const other = this.of(used);
    const before = other === lane ? [lane.own, lane.uses] : [lane.own, lane.uses, other.own];
    const done = Promise.all(before).then(job).catch(this.failed);
    lane.own = done;
    if (other !== lane) other.uses = Promise.all([other.uses, done]);
  }

  /** Resolves when all that has come so far is done. */
  async settled(): Promise<void> {
    await Promise.all([...this.lanes.values()].map((lane) => lane.own));
  }

  private of(domid: number): Lane {
    let lane = this.lanes.get(domid);
    if (lane === undefined) this.lanes.set(domid, (lane = { own: Promise.resolve(), uses: Promise.resolve() }));
    return lane;
  }
}

/** Arguments of the event nic.attach: what the driver asked for, and who it is. */
export interface AttachArgs extends QueueArgs {
  rid: number;
  /** Domain that drives the queue. */
  context: number;
}

/** Arguments of the event domain.new; a guest has addresses. */
interface DomainNew {
  domid: number;
  /** See dmaOwner. */
  generation: number;
  memoryPages: number;
  ip?: string | null;
  mac?: string | null;
  nested?: boolean;
}

/** What this needs of the service. */
interface AttachHost {
  client: Pick<HypervisorClient, 'onEvent' | 'reply' | 'descriptor'>;
  channels: Pick<EventChannels, 'bindInterdomain'>;
  space: AddressSpace;
  counters: CounterFile;
  log: Logs<'info' | 'warn'>;
  dma: DmaReader;
  nic: Nic;
  nicTx: NicTx;
  /** The driver of a receive queue rang: there are buffers. */
  onDriver: () => void;
  /** The driver of a transmit queue rang: there are packets. */
  onSender: () => void;
  /** A guest is there, with these addresses; it is gone. */
  onGuest?: (domid: DomId, ip: string, mac: string) => void;
  onGuestGone?: (domid: DomId, ip: string) => void;
}

interface Attached {
  queue: NicRxQueue | NicTxQueue;
  channel: EventChannel;
}

interface Place {
  at: number;
  bytes: number;
}

class Refused extends Error {
  readonly code: string;
  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

export class Attachments {
  private readonly host: AttachHost;
  /** By number, of both directions. */
  private readonly attached = new Map<number, Attached>();
  /** Where a domain's memory is mapped; its successor of the same number gets the same addresses. */
  private readonly places = new Map<DomId, Place>();
  /** What guests' frames may say about where they come from. */
  private readonly sources = new Map<DomId, SourceRule>();
  /** Queues that there can be: the default one, and one for each guest. */
  private readonly names = new Map<DomId | null, string>([[null, 'default']]);
  /** One after the other for each domain: an attach waits for the hypervisor between its steps. */
  private readonly lanes: Lanes;

  constructor(host: AttachHost) {
    this.host = host;
    const { client } = host;
    this.lanes = new Lanes((err) => host.log.warn({ err }, 'an event of the hypervisor failed'));
    this.count('default');
    client.onEvent<DomainNew>('domain.new', (e) =>
      this.lanes.do(e.domid, async () => {
        await this.addDomain(e);
        if (typeof e.ip !== 'string' || typeof e.mac !== 'string') return;
        const source = host.nicTx.line.local.given.add(e.mac, e.ip);
        source.nested = e.nested === true;
        this.sources.set(parseDomId(e.domid), source);
        host.onGuest?.(parseDomId(e.domid), e.ip, e.mac);
      }),
    );
    client.onEvent<{ domid: number; nested: boolean }>('domain.nested', (e) =>
      this.lanes.do(e.domid, () => {
        const source = this.sources.get(parseDomId(e.domid));
        if (source !== undefined) source.nested = e.nested;
      }),
    );
    client.onEvent<{ domid: number }>('domain.gone', (e) => this.lanes.do(e.domid, () => this.removeDomain(e.domid)));
    client.onEvent<AttachArgs>('nic.attach', (e) =>
      this.lanes.do(e.target, () => this.answer(e.rid, 'nic.attach', e, () => this.attach(e)), e.context),
    );
    client.onEvent<{ rid: number; queue: number }>('nic.detach', (e) => {
      // The queue that has the number now: another may have it when it is this one's turn.
      const queue = this.queueOf(e.queue);
      const detach = (): Promise<void> =>
        this.answer(e.rid, 'nic.detach', queue?.settings ?? null, async () => {
          if (queue === undefined || !(await this.detach(e.queue, queue)))
            throw new Refused('ENOENT', `there is no queue ${e.queue}`);
          return {};
        });
      if (queue === undefined) void detach();
      else this.lanes.do(queue.settings.target, detach, queue.settings.context);
    });
  }

  /** Resolves when all that has come so far is done. */
  settled(): Promise<void> {
    return this.lanes.settled();
  }

  /** How many buffers wait in each receive queue now: one reading for each that there is or can be. */
  readings(): Reading[] {
    const posted = new Map([...this.names.values()].map((name): [string, number] => [name, 0]));
    for (const { queue } of this.attached.values())
      if (queue instanceof NicRxQueue) posted.set(queue.settings.name, queue.posted());
    return [...posted].map(([queue, value]) => ({ family: 'grantline_posted_buffers', labels: { queue }, value }));
  }

  /** Closes all channels, for the end of the service. */
  async close(): Promise<void> {
    for (const id of [...this.attached.keys()]) await this.detach(id, this.queueOf(id));
  }

  /** @param of whose queue it is, for the log */
  private async answer(
    rid: number,
    op: string,
    of: Pick<QueueSettings, 'context' | 'target'> | null,
    job: () => Promise<object>,
  ): Promise<void> {
    let result: object | null = null;
    let error: WireError | undefined;
    try {
      result = await job();
    } catch (err) {
      const code = (err as { code?: unknown }).code;
      error = {
        code: typeof code === 'string' ? code : 'EINVAL',
        message: err instanceof Error ? err.message : String(err),
      };
      this.host.log.warn({ op, domid: of?.context, target: of?.target, err: error.message }, 'refused');
    }
    await this.host.client.reply(rid, result, error);
  }

  private async attach(a: AttachArgs): Promise<{ queue: number }> {
    const { channels } = this.host;
    const tx = a.direction === 'tx';
    const mac = a.mac === null || a.mac === undefined ? null : keyOf(parseMac(a.mac));
    const vlan = a.vlan ?? null;
    if (vlan !== null && !(Number.isInteger(vlan) && vlan >= 0 && vlan <= 4095))
      throw new Refused('EINVAL', `VLAN ${vlan} is not 0 to 4095`);
    const name =
      tx && a.target !== a.context ? vifName(parseDomId(a.target), VIF_DEV) : queueName(a, tx ? null : mac, vlan);
    const channel = await channels.bindInterdomain(parseDomId(a.context), a.port as Port);
    const onStop = (fault: QueueFault, err?: unknown): void => this.stopped(name, channel, fault, err);
    try {
      const settings = {
        name,
        context: a.context,
        target: a.target,
        headerDpn: a.header,
        availDpn: a.avail,
        compDpn: a.comp,
        // A guest's own address, from the hypervisor; what the driver domain sends was judged by its bridge.
        mac: tx && a.context !== DOMID_DRIVER ? mac : null,
        onStop,
        moderationFrames: Math.min(NICQ_SIZE, Math.max(1, Number(a.moderationFrames) || 1)),
        moderationUs: Math.max(0, Number(a.moderationUs) || 0),
        packetBytes: Math.max(0, Number(a.packetBytes) || 0),
      };
      return { queue: tx ? this.addSender(settings, channel) : this.addReceiver(settings, channel, mac, vlan) };
    } catch (err) {
      await channel.close();
      throw err;
    }
  }

  /** A queue gave up, in the middle of a burst. Its driver sees that from the closed port, and may attach it anew. */
  private stopped(queue: string, channel: EventChannel, fault: QueueFault, err?: unknown): void {
    const { log } = this.host;
    log.warn({ queue, fault, ...(err === undefined ? {} : { err }) }, 'a queue has stopped');
    void Promise.resolve()
      .then(() => channel.close())
      .catch((error: unknown) => log.warn({ queue, err: error }, 'the port of a stopped queue stays open'));
  }

  private addReceiver(settings: QueueSettings, channel: EventChannel, mac: number | null, vlan: number | null): number {
    const { nic, dma, space, onDriver } = this.host;
    const counters = this.count(settings.name);
    const queue = new NicRxQueue({ mem: space.mem, dma, guard: nic.guard, settings, channel, counters });
    const id = nic.attach(queue, mac, vlan);
    if (id === -1)
      throw new Refused(
        'EEXIST',
        mac === null ? 'there is a default queue' : `the address of ${settings.name} is taken`,
      );
    return this.begin(id, queue, channel, onDriver);
  }

  private addSender(settings: QueueSettings, channel: EventChannel): number {
    const { nic, nicTx, dma, space, onSender } = this.host;
    const counters = this.countTx(settings.name);
    const queue = new NicTxQueue({ mem: space.mem, dma, guard: nic.guard, settings, channel, counters }, nicTx.line);
    return this.begin(nicTx.attach(queue), queue, channel, onSender);
  }

  /** @param id its number; below 0: there are too many @param onRing its driver has posted something */
  private begin(id: number, queue: Attached['queue'], channel: EventChannel, onRing: () => void): number {
    if (id < 0) throw new Refused('ENOSPC', 'there are no more queues');
    channel.onEvent(onRing, () => queue.published());
    this.attached.set(id, { queue, channel });
    onRing();
    return id;
  }

  /** The counters of a queue; they are there before it is, so that nobody misses their first step. */
  private count(name: string): CounterBlock {
    this.countTx(name);
    return this.host.counters.block(NIC_QUEUE_COUNTERS, { queue: name });
  }

  private countTx(name: string): CounterBlock {
    return this.host.counters.block(NIC_TX_COUNTERS, { queue: name });
  }

  private queueOf(id: number): Attached['queue'] | undefined {
    return this.attached.get(id)?.queue;
  }

  /** @param queue that had the number when this was asked for @returns false when it is gone */
  private async detach(id: number, queue: Attached['queue'] | undefined): Promise<boolean> {
    const found = this.attached.get(id);
    if (found === undefined || found.queue !== queue) return false;
    this.attached.delete(id);
    if (queue instanceof NicRxQueue) this.host.nic.detach(id);
    else this.host.nicTx.detach(id);
    // The port may have gone with its domain.
    await found.channel.close().catch(() => {});
    return true;
  }

  private async addDomain({ domid, generation, memoryPages }: DomainNew): Promise<void> {
    const { space, dma, client } = this.host;
    const id = parseDomId(domid);
    const fd = await client.descriptor('memory', id);
    const bytes = memoryPages * PAGE_SIZE;
    const old = this.places.get(id);
    let at: number;
    try {
      at = old !== undefined && old.bytes >= bytes ? old.at : space.reserve(bytes);
      this.places.set(id, { at, bytes: Math.max(bytes, old?.at === at ? old.bytes : 0) });
      space.mapFd(at, fd, 0, bytes, true);
    } finally {
      closeSync(fd);
    }
    dma.addDomain(id, generation, at, memoryPages);
    if (id > MAX_GUESTS) return;
    const name = vifName(id, VIF_DEV);
    this.names.set(id, name);
    this.count(name);
  }

  private async removeDomain(domid: number): Promise<void> {
    const id = parseDomId(domid);
    for (const [queue, { queue: q }] of [...this.attached])
      if (q.settings.context === id || q.settings.target === id) await this.detach(queue, q);
    this.names.delete(id);
    const source = this.sources.get(id);
    if (source !== undefined) {
      this.host.nicTx.line.local.given.remove(source);
      this.sources.delete(id);
      this.host.onGuestGone?.(id, formatIp(source.ip!));
    }
    const place = this.places.get(id);
    if (!this.host.dma.removeDomain(id) || place === undefined) return;
    this.host.space.unmap(place.at, place.bytes);
  }
}

/** Label of the queue's counters: 'default', or the vif that it belongs to. */
function queueName(a: AttachArgs, mac: number | null, vlan: number | null): string {
  if (mac === null) return 'default';
  return vifName(parseDomId(a.target), VIF_DEV) + (vlan === null ? '' : `-vlan${vlan}`);
}
