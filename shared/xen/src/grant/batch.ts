/** What all hypercall batches have in common. The kinds are in batches.ts; layouts in abi/hypercall.ts.
 *
 *  A batch is built in place in a buffer made once: no allocation per element. It is filled (add), sent, answered (status
 *  and the other results are read from the reply), reset, filled again. From send to the reply its bytes belong to the
 *  socket; add refuses then. */
import { GNTST } from '../abi/grant-table.js';
import { HYPERCALL_HEADER_BYTES, HYPERCALL_MAX_COUNT } from '../abi/hypercall.js';
import type { HypercallPort } from '../hypervisor/port.js';

const NO_REPLY = new DataView(new ArrayBuffer(0));
/** rc of a reply that does not fit its batch. */
const EPROTO = -71;

/** What all batches have in common. */
export abstract class Batch {
  /** Elements added since the last reset. */
  count = 0;
  readonly capacity: number;
  /** A number for each element that means something to the caller only. */
  readonly tag: Int32Array;
  /** rc of the whole call: 0, or a negative errno; then no element was looked at. */
  rc = 0;
  protected readonly u16: Uint16Array;
  protected readonly u32: Uint32Array;
  protected result: DataView = NO_REPLY;
  private readonly bytes: Buffer;
  private readonly elementBytes: number;
  private readonly resultBytes: number;
  private sent = false;
  private answered = false;
  private onDone: ((batch: Batch) => void) | null = null;
  private readonly onReply = (reply: Buffer): void => this.take(reply);

  protected constructor(cmd: number, capacity: number, elementBytes: number, resultBytes: number) {
    if (!Number.isInteger(capacity) || capacity < 1 || capacity > HYPERCALL_MAX_COUNT)
      throw new RangeError(`a batch holds 1 to ${HYPERCALL_MAX_COUNT} elements, not ${capacity}`);
    this.capacity = capacity;
    this.elementBytes = elementBytes;
    this.resultBytes = resultBytes;
    const buffer = new ArrayBuffer(HYPERCALL_HEADER_BYTES + capacity * elementBytes);
    this.bytes = Buffer.from(buffer);
    this.u16 = new Uint16Array(buffer);
    this.u32 = new Uint32Array(buffer);
    this.tag = new Int32Array(capacity);
    this.u16[2] = cmd;
  }

  get isFull(): boolean {
    return this.count === this.capacity;
  }

  /** True from send to the reply. */
  get inFlight(): boolean {
    return this.sent && !this.answered;
  }

  /** Empties the batch for new elements. @throws Error while it is in flight */
  reset(): void {
    if (this.sent && !this.answered) throw new Error('a batch in flight cannot be reset');
    this.count = 0;
    this.sent = false;
    this.answered = false;
    this.result = NO_REPLY;
  }

  /** Sends what was added, as one hypercall. @param onDone called when the reply is there: read the results then
   *  @throws Error when the batch is empty or has been sent already */
  send(client: HypercallPort, onDone: (batch: this) => void): void {
    if (this.count === 0 || this.sent) throw new Error(this.sent ? 'the batch has been sent' : 'the batch is empty');
    this.sent = true;
    // Only ever called with this very batch.
    this.onDone = onDone as (batch: Batch) => void;
    this.u16[3] = this.count;
    client.hypercall(this.bytes.subarray(0, HYPERCALL_HEADER_BYTES + this.count * this.elementBytes), this.onReply);
  }

  /** The same as a promise, for control code. */
  sendAsync(client: HypercallPort): Promise<this> {
    return new Promise((resolve) => this.send(client, resolve));
  }

  /** GNTST_* of element i: 0 or negative. generalError for all when the call itself failed. */
  status(i: number): number {
    if (this.rc !== 0 || i >= this.count) return GNTST.generalError;
    return this.result.getInt16(HYPERCALL_HEADER_BYTES + i * this.resultBytes, true);
  }

  /** Byte offset of a new element. @throws RangeError when full, Error when in flight: the caller's fault */
  protected next(): number {
    if (this.sent) throw new Error('the batch has been sent: reset it first');
    if (this.count === this.capacity) throw new RangeError('the batch is full');
    return HYPERCALL_HEADER_BYTES + this.count++ * this.elementBytes;
  }

  /** Byte offset of result i in the reply. */
  protected resultAt(i: number): number {
    return HYPERCALL_HEADER_BYTES + i * this.resultBytes;
  }

  private take(reply: Buffer): void {
    this.answered = true;
    this.result = new DataView(reply.buffer, reply.byteOffset, reply.byteLength);
    this.rc = this.result.getInt16(4, true);
    const whole = reply.length === HYPERCALL_HEADER_BYTES + this.count * this.resultBytes;
    // A short reply would make the readers throw: it counts as a failed call.
    if (this.rc === 0 && (!whole || this.result.getUint16(6, true) !== this.count)) this.rc = EPROTO;
    const done = this.onDone;
    this.onDone = null;
    done?.(this);
  }
}

/** A fixed number of batches, made at the start. */
export class BatchPool<T extends Batch> {
  private readonly idle: T[] = [];
  readonly size: number;

  constructor(make: () => T, size: number) {
    this.size = size;
    for (let i = 0; i < size; i++) this.idle.push(make());
  }

  /** @returns an empty batch, or null when all are out: come back when a reply is there */
  acquire(): T | null {
    return this.idle.pop() ?? null;
  }

  /** Gives a batch back, empty. */
  release(batch: T): void {
    batch.reset();
    this.idle.push(batch);
  }

  get free(): number {
    return this.idle.length;
  }
}
