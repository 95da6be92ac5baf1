/** NIC queues: who may attach one, and the way to the nic and back. The nic trusts what comes from here; so every right
 *  is checked here, and nothing of a request is passed on unjudged. */
import { DOMID_DRIVER, DOMID_NIC, MAX_GUESTS, type DomId, type Port } from '@grantline/base';
import type { PortTable } from './port-table.js';
import type { AttachArgs } from '@grantline/xen';
import { OpError } from './op-schemas.js';

/** What attaching needs to know of the rest. */
interface NicWorld {
  /** True when the nic is connected. */
  present(): boolean;
  /** Sends an event to the nic. */
  send(event: string, args: object): void;
  isLive(domid: DomId): boolean;
  /** The vif's path factor is direct. */
  isDirect(guest: DomId): boolean;
  /** The entry is live and `context` made it of its own page. */
  isOwnDma(dpn: number, context: DomId): boolean;
  macOf(guest: DomId): string;
}

type Direction = NonNullable<AttachArgs['direction']>;

interface Waiting {
  resolve(result: unknown): void;
  reject(error: OpError): void;
  timer: NodeJS.Timeout;
}

/** What the nic owes an answer to. */
interface Asked {
  readonly event: string;
  /** Whose request it is; the hypervisor's own have none. */
  readonly caller: DomId | null;
  readonly target: number | null;
  /** Of an attach. */
  readonly direction: Direction | null;
  /** null: its time is over, nobody waits any more. */
  waiting: Waiting | null;
  /** One of the two has died meanwhile. */
  dead: boolean;
}

interface Queue {
  /** Its number with the nic. */
  readonly own: number;
  readonly attacher: DomId;
  readonly target: DomId;
  readonly direction: Direction;
}

const NIC_TIMEOUT_MS = 5000;
/** Requests of one domain to which the nic may owe an answer: a driver domain with all guests attaches half as many at
 *  once. Without a limit a guest in `direct` could fill up the nic's socket, which is then cut off as too slow. */
export const NIC_ASKED_MAX = 128;
/** Queues of each direction that a guest may have, with those that it has asked for: one, and the next while the first is
 *  being given back. All guests' together are less than the nic has. */
export const GUEST_QUEUES_MAX = 2;
/** Numbers of queues of one nic are below; those of the next nic are higher, so that a late detach means no queue of it. */
const QUEUES_PER_NIC = 1 << 16;

export class NicControl {
  /** Answers of the nic to requests that had timed out or were never made. */
  lateReplies = 0;
  private readonly world: NicWorld;
  private readonly ports: PortTable;
  private readonly timeoutMs: number;
  private readonly asked = new Map<number, Asked>();
  private readonly queues = new Map<number, Queue>();
  private nextRid = 1;
  private firstQueue = 0;

  constructor(world: NicWorld, ports: PortTable, timeoutMs = NIC_TIMEOUT_MS) {
    this.world = world;
    this.ports = ports;
    this.timeoutMs = timeoutMs;
  }

  /** @throws OpError EPERM, EINVAL, ENODEV no nic, EBUSY, ETIMEDOUT, ESRCH when caller or target dies meanwhile, or what
   *  the nic answers */
  async attach(caller: DomId, args: AttachArgs): Promise<{ queue: number }> {
    const mac = this.checkRights(caller, args);
    this.checkMemory(caller, args);
    const direction = args.direction ?? 'rx';
    if (caller !== DOMID_DRIVER && this.queuesOf(caller, direction) >= GUEST_QUEUES_MAX)
      throw new OpError('ENOSPC', `a guest has ${GUEST_QUEUES_MAX} queues of a direction at most`);
    const result = await this.ask('nic.attach', { context: caller, ...args, mac }, caller, args.target, direction);
    const own = (result as { queue?: unknown } | null)?.queue;
    if (typeof own !== 'number' || !Number.isInteger(own) || own < 0 || own >= QUEUES_PER_NIC)
      throw new OpError('EIO', 'the nic answered no queue');
    const queue = this.firstQueue + own;
    this.queues.set(queue, { own, attacher: caller, target: args.target as DomId, direction });
    if (caller !== DOMID_DRIVER && !this.world.isDirect(caller)) {
      this.detachAll(caller);
      throw new OpError('EPERM', "the path of this guest's vif is direct no more");
    }
    return { queue };
  }

  /** Takes all queues from a domain that has no right to them any more; the nic closes their ports. */
  detachAll(attacher: DomId): void {
    for (const [queue, q] of this.queues) {
      if (q.attacher !== attacher) continue;
      this.queues.delete(queue);
      // A nic that does not answer has not let go: it is given up by who waits for its transfers.
      void this.ask('nic.detach', { queue: q.own }).catch(() => {});
    }
  }

  /** @throws OpError ENOENT no such queue, EPERM somebody else's, ENODEV, EBUSY, ETIMEDOUT */
  async detach(caller: DomId, queue: number): Promise<Record<string, never>> {
    const known = this.queues.get(queue);
    if (known === undefined) throw new OpError('ENOENT', `there is no queue ${queue}`);
    if (known.attacher !== caller) throw new OpError('EPERM', `queue ${queue} is not domain ${caller}'s`);
    await this.ask('nic.detach', { queue: known.own }, caller);
    // A new one may have got the number while the answer was on its way.
    if (this.queues.get(queue) === known) this.queues.delete(queue);
    return {};
  }

  /** The nic's answer. */
  reply(rid: number, result: unknown, error: { code: string; message: string } | undefined): void {
    const asked = this.asked.get(rid);
    this.asked.delete(rid);
    const waiting = asked?.waiting ?? null;
    if (waiting === null) {
      this.lateReplies++;
      const queue = (result as { queue?: unknown } | null | undefined)?.queue;
      // An attach that came through after its time: nobody knows of the queue, so it must go.
      if (asked?.event === 'nic.attach' && !asked.dead && typeof queue === 'number')
        void this.ask('nic.detach', { queue }).catch(() => {});
      return;
    }
    clearTimeout(waiting.timer);
    if (error !== undefined) waiting.reject(new OpError(error.code, `nic: ${error.message}`));
    // The nic has heard of the death, or is about to: it takes the queue off itself, and may give its number anew.
    else if (asked!.dead) waiting.reject(new OpError('ESRCH', 'a domain of the queue has died'));
    else waiting.resolve(result);
  }

  /** The nic is dead: its queues are gone, and no answer will come. */
  nicGone(): void {
    for (const { waiting } of this.asked.values()) {
      if (waiting === null) continue;
      clearTimeout(waiting.timer);
      waiting.reject(new OpError('ENODEV', 'the nic has gone'));
    }
    this.asked.clear();
    this.queues.clear();
    this.firstQueue += QUEUES_PER_NIC;
  }

  /** A domain is dead; the nic hears of it and detaches the queues itself. */
  domainGone(domid: DomId): void {
    for (const [queue, q] of this.queues) if (q.attacher === domid || q.target === domid) this.queues.delete(queue);
    for (const asked of this.asked.values())
      if (asked.event === 'nic.attach' && (asked.caller === domid || asked.target === domid)) asked.dead = true;
  }

  /** For inspection. */
  list(): { queue: number; attacher: number; target: number }[] {
    return [...this.queues].map(([queue, q]) => ({ queue, attacher: q.attacher, target: q.target }));
  }

  /** @returns the address that the queue filters by */
  private checkRights(caller: DomId, { target, mac, vlan }: AttachArgs): string | null {
    if (caller === DOMID_DRIVER) {
      if (target !== caller && (target < 1 || target > MAX_GUESTS || !this.world.isLive(target as DomId)))
        throw new OpError('EINVAL', `there is no guest ${target}`);
      return mac;
    }
    if (caller === DOMID_NIC) throw new OpError('EPERM', 'the nic does not attach queues');
    if (target !== caller) throw new OpError('EPERM', 'a guest attaches a queue for itself only');
    if (!this.world.isDirect(caller)) throw new OpError('EPERM', "the path of this guest's vif is not direct");
    // Which VLANs a guest is in is not its own choice. The nic also keeps counters of each that it has once heard of.
    if (vlan !== null) throw new OpError('EPERM', 'a guest has no VLAN');
    // Whatever it asked for: frames for others must not get into its queue.
    return this.world.macOf(caller);
  }

  private checkMemory(caller: DomId, { header, avail, comp, port }: AttachArgs): void {
    for (const dpn of [header, avail, comp])
      if (!this.world.isOwnDma(dpn, caller))
        throw new OpError('EINVAL', `dpn ${dpn} is not a page of domain ${caller}`);
    if (new Set([header, avail, comp]).size !== 3)
      throw new OpError('EINVAL', 'header, avail and comp are three pages');
    const { status, remote } = this.ports.status(caller, port as Port);
    if (status !== 'unbound' || remote !== DOMID_NIC)
      throw new OpError('EINVAL', `port ${port} is not unbound for the nic`);
  }

  private ask(
    event: string,
    args: object,
    caller: DomId | null = null,
    target: number | null = null,
    direction: Direction | null = null,
  ): Promise<unknown> {
    if (!this.world.present()) return Promise.reject(new OpError('ENODEV', 'there is no nic'));
    if (caller !== null && this.owedTo(caller) >= NIC_ASKED_MAX)
      return Promise.reject(
        new OpError('EBUSY', `the nic has ${NIC_ASKED_MAX} requests of domain ${caller} to answer`),
      );
    const rid = this.nextRid++;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        asked.waiting = null;
        reject(new OpError('ETIMEDOUT', `the nic did not answer ${event}`));
      }, this.timeoutMs);
      const asked: Asked = { event, caller, target, direction, waiting: { resolve, reject, timer }, dead: false };
      this.asked.set(rid, asked);
      this.world.send(event, { rid, ...args });
    });
  }

  /** Those it has, and those that the nic may be about to give it. */
  private queuesOf(attacher: DomId, direction: Direction): number {
    let n = 0;
    for (const q of this.queues.values()) if (q.attacher === attacher && q.direction === direction) n++;
    for (const a of this.asked.values()) if (a.caller === attacher && a.direction === direction && !a.dead) n++;
    return n;
  }

  private owedTo(domid: DomId): number {
    let n = 0;
    for (const { caller } of this.asked.values()) if (caller === domid) n++;
    return n;
  }
}
