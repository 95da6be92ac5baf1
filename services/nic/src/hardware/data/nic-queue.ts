/** What every queue of the NIC is, whichever way it goes: three pages of its driver's, moderation of its notifications, and its end.
 *  docs/wire/nic-queue.md.
 *
 *  The driver may be a guest (`direct`), so nothing that it wrote is believed: a descriptor is read once and the copy is judged, each
 *  page goes through the DMA table, and the queue's own pages are looked up again in each burst. */
import type { DeviceEnd } from '@grantline/xen';
import type { CounterBlock, Mem, Notify } from '@grantline/machine';
import type { BurstGuard, DmaReader } from './dma.js';

/** What became of a frame. */
export const DELIVERED = 0;
/** Not enough buffers: nothing was written or counted, the frame may be offered again. */
export const NO_BUFFER = 1;
/** The frame is gone, and counted with its reason. */
export const DROPPED = 2;
/** Of a packet that stands for several frames: it is not taken in one piece, its frames may be. Nothing was written or counted. */
export const UNFIT = 3;

/** Why a queue has stopped. */
export type QueueFault =
  | 'none'
  /** An index, or a chain of descriptors, that cannot be. */
  | 'index'
  /** Its own pages are not the driver's any more. */
  | 'revoked'
  /** It threw: a fault of ours. */
  | 'failed';

/** What a driver asked for when it attached the queue, checked by the control part. */
export interface QueueSettings {
  /** Address of the function whose transmit queue this is; none: the driver switches itself, all goes to the cable. */
  mac?: number | null;
  readonly name: string;
  /** Domain that drives the queue, and domain whose pages may be on it. */
  readonly context: number;
  readonly target: number;
  readonly headerDpn: number;
  readonly availDpn: number;
  readonly compDpn: number;
  /** Called once, when the queue has stopped. From inside a burst. @param err what it threw */
  readonly onStop?: (fault: QueueFault, err?: unknown) => void;
  /** A notification is held back for so many completions, or so long. */
  readonly moderationFrames: number;
  readonly moderationUs: number;
  /** Longest TCP packet that a receiving driver takes uncut; 0 or none: frames only. */
  readonly packetBytes?: number;
}

/** What a queue is made from. */
export interface QueueParts {
  mem: Mem;
  dma: DmaReader;
  guard: BurstGuard;
  settings: QueueSettings;
  channel: Notify;
  counters: CounterBlock;
}

/** Slots of counters that all queues have. */
interface QueueSlots {
  suppressed: number;
  notifications: number;
  exceptions: number;
}

export abstract class NicQueue {
  readonly settings: QueueSettings;
  readonly counters: CounterBlock;
  fault: QueueFault = 'none';
  protected readonly dma: DmaReader;
  protected readonly guard: BurstGuard;
  protected abstract readonly ring: DeviceEnd;
  /** Descriptors known to be there in this burst. */
  protected left = 0;
  /** The driver has asked to be notified and has not been: for how many completions, and since when. */
  protected owed = false;
  private owedFor = 0;
  private owedSince = 0;
  /** Byte offsets of the three pages. */
  protected readonly header: number;
  protected readonly avail: number;
  protected readonly comp: number;
  private readonly channel: Notify;
  private readonly slots: QueueSlots;
  private checkedIn = 0;
  /** The last burst in which it was looked at. */
  private usedIn = 0;

  /** @throws RangeError when one of the three pages is not the driver's own to write */
  constructor({ dma, guard, settings, channel, counters }: QueueParts, slots: QueueSlots) {
    this.settings = settings;
    this.counters = counters;
    this.dma = dma;
    this.guard = guard;
    this.channel = channel;
    this.slots = slots;
    this.header = this.pageOf(settings.headerDpn);
    this.avail = this.pageOf(settings.availDpn);
    this.comp = this.pageOf(settings.compDpn);
    if (this.header < 0 || this.avail < 0 || this.comp < 0)
      throw new RangeError('a queue page is not in the DMA table');
  }

  /** Whether this burst has anything of it to end, or a notification is held back. With many queues most have neither. */
  get isConcerned(): boolean {
    return this.usedIn === this.guard.id || this.owed;
  }

  /** Makes this burst's completions visible. Inside the burst, at its end. */
  endBurst(): void {
    this.left = 0;
    const n = this.ring.unpublished();
    if (n === 0 || !this.enter()) return;
    if (this.ring.publish() && !this.owed) {
      this.owed = true;
      this.owedFor = 0;
      this.owedSince = this.guard.nowNs;
    }
    if (this.owed) this.owedFor += n;
    else this.counters.v[this.slots.suppressed]++;
  }

  /** Notifies the driver if it asked, once enough is done, the first of it has waited long enough, or the NIC goes to sleep.
   *  @param sleeping the NIC will not look again soon: hold nothing back */
  moderate(sleeping: boolean): void {
    if (!this.owed) return;
    const { moderationFrames, moderationUs } = this.settings;
    const waited = this.guard.nowNs - this.owedSince;
    if (!sleeping && this.owedFor < moderationFrames && waited < moderationUs * 1000) return;
    this.owed = false;
    this.channel.notify();
    this.counters.v[this.slots.notifications]++;
  }

  /** How far the driver has published, as an index. Outside a burst. */
  published(): number {
    const { guard, ring } = this;
    guard.begin(guard.nowNs);
    const available = this.enter() ? ring.available() : 0;
    guard.end();
    return (ring.cons + Math.max(0, available)) >>> 0;
  }

  /** Descriptors that the driver has posted and the NIC has not taken, to be shown: outside a burst the header's page may be taken away
   *  at any time, and then the number is an old one. */
  posted(): number {
    return this.pageOf(this.settings.headerDpn) === this.header ? Math.max(0, this.ring.available()) : 0;
  }

  /** It threw, and its state may be anything: it does nothing any more. */
  failed(err: unknown): void {
    this.counters.v[this.slots.exceptions]++;
    this.stop('failed', err);
  }

  /** Before a burst's first use of the queue: its pages must still be where they were. The hypervisor may take them back at any time.
   *  @returns false: it has stopped */
  protected enter(): boolean {
    this.usedIn = this.guard.id;
    if (this.fault !== 'none') return false;
    if (this.checkedIn === this.guard.id) return true;
    const { headerDpn, availDpn, compDpn } = this.settings;
    const inPlace =
      this.pageOf(headerDpn) === this.header &&
      this.pageOf(availDpn) === this.avail &&
      this.pageOf(compDpn) === this.comp;
    if (inPlace) this.checkedIn = this.guard.id;
    else this.stop('revoked');
    return inPlace;
  }

  /** Looks how many descriptors there are. @returns true when there are some */
  protected look(): boolean {
    if (!this.enter()) return false;
    const n = this.ring.available();
    if (n < 0) this.stop('index');
    this.left = n < 0 ? 0 : n;
    return n > 0;
  }

  protected stop(fault: QueueFault, err?: unknown): void {
    this.left = 0;
    if (this.fault !== 'none') return;
    this.fault = fault;
    this.countStop(fault);
    this.settings.onStop?.(fault, err);
  }

  protected abstract countStop(fault: QueueFault): void;

  /** An entry of the queue's own pages must name the driver itself, not the target: a driver domain's rings are its own memory, also
   *  where the buffers on them are a guest's. */
  protected pageOf(dpn: number): number {
    const { context } = this.settings;
    return this.dma.lookup(dpn, context, context);
  }
}

/** Does a step of a queue's; what that throws stops this queue alone. */
export function contained(queue: NicQueue, step: (queue: NicQueue) => void): void {
  try {
    step(queue);
  } catch (err) {
    queue.failed(err);
  }
}

export const endBurst = (queue: NicQueue): void => queue.endBurst();
export const moderate = (queue: NicQueue): void => queue.moderate(false);
export const moderateAll = (queue: NicQueue): void => queue.moderate(true);
