/** Interrupt moderation of one queue: a notification that the driver asked for is held back until enough frames have
 *  come, the first of them has waited long enough, or the NIC goes to sleep. */
import type { Notify } from '@grantline/machine';
import type { QueueSettings } from './queue-types.js';

export class Moderation {
  /** True while the driver has asked and has not been told. */
  owed = false;
  private readonly frames: number;
  private readonly waitNs: number;
  private readonly channel: Notify;
  private buffers = 0;
  private since = 0;

  constructor(settings: QueueSettings, channel: Notify) {
    this.frames = settings.moderationFrames;
    this.waitNs = settings.moderationUs * 1000;
    this.channel = channel;
  }

  /** `n` completions were published. @param asked the driver's event index was passed
   *  @returns false when there is nobody to tell: the driver is awake */
  published(n: number, asked: boolean, nowNs: number): boolean {
    if (asked && !this.owed) {
      this.owed = true;
      this.buffers = 0;
      this.since = nowNs;
    }
    if (this.owed) this.buffers += n;
    return this.owed;
  }

  /** Notifies when it is time to. @returns true when it did */
  due(sleeping: boolean, nowNs: number): boolean {
    if (!this.owed) return false;
    if (!sleeping && this.buffers < this.frames && nowNs - this.since < this.waitNs) return false;
    this.owed = false;
    this.channel.notify();
    return true;
  }
}
