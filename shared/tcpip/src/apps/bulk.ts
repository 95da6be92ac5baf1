/** Applications that measure TCP: discard (RFC 863) takes bytes to its own memory, chargen (RFC 864) sends as many as go,
 *  echo (RFC 862) sends back what comes. They use connections as they are, without Node streams; one buffer serves all. */
import { slots } from '@grantline/machine';
import type { Connection } from '../tcp/connection.js';
import type { NetStack } from '../net-stack.js';
import { type ConnectionEvents, ERR_NONE } from '../tcp/tcb.js';
import { CHARGEN_PORT, DISCARD_PORT, ECHO_PORT } from '@grantline/base';
import { TCP_APP_COUNTERS } from '../counters.js';

const C = slots(TCP_APP_COUNTERS);
/** The application's own memory: what one read takes, and what is sent over and over. */
const MEMORY_BYTES = 1 << 18;
/** Silence after which a peer is asked whether it is there: one that vanished, as a cable's end does that is started anew,
 *  would otherwise stay for ever. */
const KEEP_ALIVE_MS = 60_000;

export interface AppCounters {
  readonly v: Float64Array;
  commit(): void;
}

/** What they share. */
export interface BulkMemory {
  /** What is sent over and over; where what is received goes. */
  readonly bytes: Uint8Array;
  readonly sink: Uint8Array;
  readonly counters: AppCounters;
}

export const bulkMemory = (counters: AppCounters): BulkMemory => {
  const bytes = new Uint8Array(MEMORY_BYTES);
  for (let i = 0; i < bytes.length; i++) bytes[i] = (i * 131 + (i >> 8)) & 0xff;
  return { bytes, sink: new Uint8Array(MEMORY_BYTES), counters };
};

/** One connection that is read, written, or both. */
export class BulkApp implements ConnectionEvents {
  private readonly connection: Connection;
  private readonly memory: BulkMemory;
  private readonly sends: boolean;

  constructor(connection: Connection, memory: BulkMemory, sends: boolean) {
    this.connection = connection;
    this.memory = memory;
    this.sends = sends;
    memory.counters.v[C.connections]++;
    connection.setKeepAlive(true, KEEP_ALIVE_MS);
  }

  onOpen(): void {
    if (this.sends) this.fill();
  }

  onReadable(): void {
    const { connection, memory } = this;
    let got = 0;
    // Into memory of its own, which the next read overwrites.
    while (connection.readable > 0) got += connection.read(memory.sink);
    memory.counters.v[C.receivedBytes] += got;
    memory.counters.commit();
  }

  onEnd(): void {
    this.connection.close();
  }

  onWritable(): void {
    if (this.sends) this.fill();
  }

  onClose(error: number): void {
    if (error !== ERR_NONE) this.memory.counters.v[C.resets]++;
    this.memory.counters.commit();
    this.connection.close();
  }

  private fill(): void {
    const { connection, memory } = this;
    let sent = 0;
    for (;;) {
      const n = connection.write(memory.bytes);
      sent += n;
      if (n < memory.bytes.length) break;
    }
    memory.counters.v[C.sentBytes] += sent;
    memory.counters.commit();
  }
}

/** Sends back what comes; holds at most what the send buffer has no room for. */
export class EchoApp implements ConnectionEvents {
  private readonly connection: Connection;
  private readonly memory: BulkMemory;
  private ended = false;
  private unsent: Uint8Array | null = null;

  constructor(connection: Connection, memory: BulkMemory) {
    this.connection = connection;
    this.memory = memory;
    memory.counters.v[C.connections]++;
    connection.setKeepAlive(true, KEEP_ALIVE_MS);
  }

  onOpen(): void {}

  onReadable(): void {
    const { connection, memory } = this;
    if (this.unsent !== null) return;
    while (connection.readable > 0) {
      const n = connection.read(memory.sink);
      memory.counters.v[C.receivedBytes] += n;
      const sent = connection.write(memory.sink, 0, n);
      memory.counters.v[C.sentBytes] += sent;
      if (sent === n) continue;
      this.unsent = memory.sink.slice(sent, n);
      break;
    }
    memory.counters.commit();
    if (this.ended && this.unsent === null) connection.close();
  }

  onEnd(): void {
    this.ended = true;
    this.onReadable();
  }

  onWritable(): void {
    if (this.unsent === null) return;
    const sent = this.connection.write(this.unsent);
    this.memory.counters.v[C.sentBytes] += sent;
    this.unsent = sent === this.unsent.length ? null : this.unsent.subarray(sent);
    if (this.unsent === null) this.onReadable();
  }

  onClose(error: number): void {
    if (error !== ERR_NONE) this.memory.counters.v[C.resets]++;
    this.memory.counters.commit();
    this.connection.close();
  }
}

/** Serves all of them. */
export function serveBulk(stack: NetStack, counters: AppCounters): void {
  const memory = bulkMemory(counters);
  stack.listen(DISCARD_PORT, (c) => new BulkApp(c, memory, false));
  stack.listen(CHARGEN_PORT, (c) => new BulkApp(c, memory, true));
  stack.listen(ECHO_PORT, (c) => new EchoApp(c, memory));
}
