/** Who drives the NIC's default queue: the bridge's driver, or in `native` the driver domain's own stack. Both use the
 *  same pages, one after the other. */
import type { CounterBlock } from '@grantline/machine';
import type { RxStack } from '@grantline/measure';
import { NativeRx, NicDriver } from '../data/nic-drivers.js';
import { pause, type QueueHost } from './host.js';
import { makeNicQueue, untilNic, type NicQueue } from './nic-queue.js';
import { UndoStack } from '@grantline/base';

/** Pages of receive buffers. No more than a full rx ring takes: frames that wait here for a guest's buffers only add
 *  delay, and with the NIC's queue empty flow control holds the sender. */
export const DRIVER_BUFFERS = 256;

export class DefaultQueue {
  driver: NicDriver | null = null;
  native: NativeRx | null = null;
  /** The NIC has the queue: frames can come. */
  attached = false;
  /** It gave up, or the NIC did: no frames come until it is started again. Called once for each start. */
  onBroken: (reason: string) => void = () => {};
  private readonly host: QueueHost;
  private readonly dpn: Uint32Array;
  private readonly undo = new UndoStack();
  private queue: NicQueue | null = null;
  private stopped = false;

  /** @param dpn numbers of the buffers' pages in the DMA table */
  constructor(host: QueueHost, dpn: Uint32Array) {
    this.host = host;
    this.dpn = dpn;
  }

  /** Frames go to the bridge from now on. */
  async startBridge(): Promise<void> {
    const { buffers, bridge, driver } = this.host;
    // Pushed first, so undone last: when the NIC can write no buffer any more.
    this.undo.push(() => this.takeBuffersBack());
    await this.start((q) => (this.driver = new NicDriver({ ...this.optionsOf(q, driver), buffers, bridge })));
  }

  /** Frames go to the driver domain's own stack from now on. */
  async startNative(stack: Pick<RxStack, 'fragment' | 'process' | 'deliver'>, counters: CounterBlock): Promise<void> {
    const { base } = this.host.buffers;
    await this.start((q) => (this.native = new NativeRx({ ...this.optionsOf(q, counters), base, stack })));
  }

  /** Takes the queue off the NIC; a start may follow. */
  async stop(): Promise<void> {
    this.attached = false;
    for (const err of await this.undo.run()) this.host.log.warn({ err }, 'a step of stopping the default queue failed');
    this.queue = null;
    this.native = null;
  }

  /** The service ends: a start that still waits for the NIC gives up. */
  giveUp(): void {
    this.stopped = true;
  }

  /** The service ends: everything is given back. */
  async end(): Promise<void> {
    this.giveUp();
    await this.stop();
  }

  describe(): Record<string, unknown> {
    return {
      drivenBy: this.native !== null ? 'native' : 'bridge',
      broken: (this.native ?? this.driver)?.broken ?? false,
      queue: this.queue?.queue.describe() ?? null,
      buffers: this.host.buffers.describe(),
    };
  }

  private optionsOf(q: NicQueue, counters: CounterBlock) {
    const onBroken = (reason: string): void => this.lost(q, reason);
    return { queue: q.queue, nic: q.nic, dpn: this.dpn, counters, meter: this.host.meter, onBroken };
  }

  private async start(make: (q: NicQueue) => NicDriver | NativeRx): Promise<void> {
    const { host, undo } = this;
    const stopped = (): boolean => this.stopped;
    const q = await untilNic(host, stopped, () => makeNicQueue(host, undo));
    this.queue = q;
    const poller = make(q);
    poller.refill();
    q.nic.onEvent(() => host.loop.schedule(poller));
    await untilNic(host, stopped, () => q.attach(host.domid, null));
    this.attached = true;
    q.nic.onUnbound(() => this.lost(q, 'the NIC closed its port'));
    host.loop.add(poller);
    undo.push(() => host.loop.remove(poller));
  }

  private lost(q: NicQueue, reason: string): void {
    if (this.queue !== q || !this.attached || this.stopped) return;
    this.attached = false;
    this.onBroken(reason);
  }

  /** Frames that vifs still hold come back later; posted buffers are free once the queue is off. */
  private async takeBuffersBack(): Promise<void> {
    const { driver, host } = this;
    this.driver = null;
    for (let ms = 0; host.buffers.held > 0 && ms < 1000 && !host.client.closed; ms++) await pause(1);
    driver?.reclaim();
  }
}
