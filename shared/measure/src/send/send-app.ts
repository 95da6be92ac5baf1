/** The application of a measured transmit run: makes stamped frames (docs/wire/frame-stamp.md) and hands them to a device as
 *  fast as it takes them. Its work is that of a program that sends: payload from its private memory into the device's
 *  transmit buffers. With segmentation offload it hands over up to 64 KiB at a time. */
import { slots, type CounterBlock, type PrivateMemory, type Poller, type Laps } from '@grantline/machine';
import { SENDER_COUNTERS } from '@grantline/observe';
import {
  BULK_BYTES,
  BULK_CSUM_START,
  BULK_HEADER,
  BulkTemplate,
  FlowTemplates,
  isTcpSize,
  type FlowSpec,
  type TemplateSpec,
  TEMPLATE_BYTES,
} from '@grantline/frames';
import type { TxDevice } from './tx-device.js';

const C = slots(SENDER_COUNTERS);
/** Frames in one poll, and of one flow in a row. */
const BATCH = 64;
const TRAIN = 32;

export interface SendRun {
  seed: number;
  frameSizes: readonly number[];
  protocol: TemplateSpec['protocol'];
  flows: readonly FlowSpec[];
  /** Indices into frameSizes in the order of sending; empty: the first size only. */
  order?: Uint8Array;
  /** Nothing is sent but responses: receive/respond-app.ts. */
  responds?: boolean;
}

export interface SendAppOptions {
  space: PrivateMemory;
  counters: CounterBlock;
  meter: Laps;
  /** Components that the device and the application's own work are charged to. */
  components: { device: number; application: number };
}

export class SendApp implements Poller {
  scheduled = false;
  private readonly o: SendAppOptions;
  private templatesAt = -1;
  private bulkAt = -1;
  private device: TxDevice | null = null;
  private templates: FlowTemplates | null = null;
  private bulk: BulkTemplate | null = null;
  private flows = 0;
  private order: Uint8Array = new Uint8Array(1);
  private orderAt = 0;
  private flow = 0;
  private trainLeft = TRAIN;
  private sending = false;

  constructor(options: SendAppOptions) {
    this.o = options;
  }

  get running(): boolean {
    return this.sending;
  }

  /** Gets ready for a run. @param tso the device cuts segments: packets of one size are made in bulk
   *  @throws RangeError when frames of that kind cannot be made */
  prepare(run: SendRun, tso: boolean): void {
    const { space } = this.o;
    this.sending = false;
    const { seed, flows, protocol } = run;
    if (this.templatesAt < 0) this.templatesAt = space.mapPrivate(TEMPLATE_BYTES);
    this.templates = new FlowTemplates(space, { seed, flows, sizes: run.frameSizes, protocol }, this.templatesAt);
    const size = run.frameSizes[0];
    const inBulk = tso && run.frameSizes.length === 1 && isTcpSize(size, protocol);
    if (inBulk && this.bulkAt < 0) this.bulkAt = space.mapPrivate(BULK_BYTES);
    this.bulk = inBulk ? new BulkTemplate(space.mem, this.bulkAt, seed, size, flows) : null;
    this.flows = flows.length;
    this.order = run.order !== undefined && run.order.length > 0 ? run.order : new Uint8Array(1);
    this.orderAt = 0;
    this.flow = 0;
    this.trainLeft = TRAIN;
    this.o.counters.reset();
  }

  /** The device that frames go to from now on; null: none. What it holds stays its own affair. */
  attach(device: TxDevice | null): void {
    this.device = device;
    if (device === null) this.sending = false;
  }

  /** Begins to send; the caller schedules this poller. @returns false when nothing is prepared or there is no device */
  start(): boolean {
    this.sending = this.templates !== null && this.device !== null;
    return this.sending;
  }

  stop(): void {
    this.sending = false;
  }

  poll(): number {
    const { device } = this;
    if (device === null) return 0;
    const { meter, components, counters } = this.o;
    const back = device.reclaim();
    if (!this.sending) return back;
    if (back > 0) meter.lap(components.device);
    const frames = this.bulk !== null ? this.sendBulk(device, this.bulk) : this.sendFrames(device);
    if (frames === 0) return back;
    meter.lap(components.application);
    device.push();
    meter.lap(components.device);
    counters.commit();
    return frames;
  }

  arm(): boolean {
    return this.device !== null && this.device.arm();
  }

  private sendBulk(device: TxDevice, bulk: BulkTemplate): number {
    const { meter, counters } = this.o;
    const { bytes, segments, mss } = bulk;
    const v = counters.v;
    let frames = 0;
    while (frames < BATCH && device.room(bytes)) {
      const at = bulk.next(this.nextFlow(segments), meter.now);
      v[C.copies] += device.stage(at, bytes, mss, BULK_CSUM_START, BULK_HEADER);
      v[C.packets]++;
      v[C.copiedBytes] += bytes;
      frames += segments;
    }
    v[C.frames] += frames;
    v[C.bytes] += frames * (mss + BULK_HEADER);
    v[C.payloadBytes] += frames * mss;
    return frames;
  }

  private sendFrames(device: TxDevice): number {
    const { meter, counters } = this.o;
    const templates = this.templates!;
    const { order } = this;
    const v = counters.v;
    let frames = 0;
    while (frames < BATCH) {
      const size = order[this.orderAt];
      const bytes = templates.lengths[size];
      if (!device.room(bytes)) break;
      this.orderAt = this.orderAt + 1 === order.length ? 0 : this.orderAt + 1;
      const at = templates.next(this.nextFlow(1), size, meter.now);
      v[C.copies] += device.stage(at, bytes, 0, 0, 0);
      v[C.bytes] += bytes;
      frames++;
    }
    v[C.packets] += frames;
    v[C.frames] += frames;
    v[C.copiedBytes] = v[C.bytes]!;
    return frames;
  }

  private nextFlow(frames: number): number {
    if (this.trainLeft <= 0) {
      this.trainLeft = TRAIN;
      this.flow = this.flow + 1 >= this.flows ? 0 : this.flow + 1;
    }
    this.trainLeft -= frames;
    return this.flow;
  }
}
