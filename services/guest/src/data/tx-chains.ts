/** Transmit packets as chains of buffers, from their staging to the last response. A packet has a number of its own: its first
 *  buffer may be back, and out again, before its last. */

/** What became of a packet when one of its buffers was answered: it waits for others, was sent, or failed. */
export const WAITS = 0;
export const SENT = 1;
export const FAILED = 2;

export class TxChains {
  /** By buffer: number of its packet, or -1 when it is not out; the next one of the chain, or -1; bytes in it. */
  readonly packet: Int32Array;
  readonly next: Int32Array;
  readonly bytes: Int32Array;
  // By packet: slots that are not answered, and whether one of them failed.
  private readonly unanswered: Int32Array;
  private readonly failed: Uint8Array;
  private readonly free: Int32Array;
  private freeCount: number;
  /** The packet at hand: its number, first and last buffer, buffers. */
  private number = 0;
  private head = -1;
  private tail = -1;
  private slots = 0;

  /** @param buffers how many there are: there are as many numbers */
  constructor(buffers: number) {
    this.packet = new Int32Array(buffers).fill(-1);
    this.next = new Int32Array(buffers).fill(-1);
    this.bytes = new Int32Array(buffers);
    this.unanswered = new Int32Array(buffers);
    this.failed = new Uint8Array(buffers);
    this.free = Int32Array.from({ length: buffers }, (_, i) => i);
    this.freeCount = buffers;
  }

  begin(): void {
    this.number = this.free[--this.freeCount];
    this.head = this.tail = -1;
    this.slots = 0;
  }

  /** The next buffer of the packet that was begun. */
  add(id: number, bytes: number): void {
    this.bytes[id] = bytes;
    this.next[id] = -1;
    this.packet[id] = this.number;
    if (this.tail < 0) this.head = id;
    else this.next[this.tail] = id;
    this.tail = id;
    this.slots++;
  }

  /** The packet is whole. @returns its first buffer */
  end(): number {
    this.unanswered[this.number] = this.slots;
    this.failed[this.number] = 0;
    return this.head;
  }

  /** A buffer that is out is answered. @returns what became of its packet */
  answered(id: number, failed: boolean): typeof WAITS | typeof SENT | typeof FAILED {
    const packet = this.packet[id];
    this.packet[id] = -1;
    if (failed) this.failed[packet] = 1;
    if (--this.unanswered[packet] > 0) return WAITS;
    this.free[this.freeCount++] = packet;
    return this.failed[packet] === 0 ? SENT : FAILED;
  }
}
