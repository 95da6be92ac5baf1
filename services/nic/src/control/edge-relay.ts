/** One connection through the edge: a TCP socket of the host on one side, a connection of the outer stack on the other.
 *  Bytes, half-closes and resets are carried over both ways; who does not read holds the other side back. */
import type { Socket } from 'node:net';
import type { Connection } from '@grantline/shared/net/connection.js';
import type { ConnectionEvents } from '@grantline/shared/net/tcb.js';
import { ERR_NONE } from '@grantline/shared/net/tcp-state.js';

/** Most that is read from the inner connection at once. */
const CHUNK = 1 << 18;
/** Silence after which the guest is asked whether it is there. */
const KEEP_ALIVE_MS = 60_000;
/** How long a client may leave the end of an answer unread whose connection to the guest is over: no timer of the stack's
 *  watches over that memory any more. */
const PATIENCE_MS = 300_000;

export class EdgeRelay implements ConnectionEvents {
  private readonly socket: Socket;
  private readonly onOver: (relay: EdgeRelay) => void;
  /** Tells the stack the time: it is used between the loop's turns. */
  private readonly tick: () => void;
  private connection: Connection | null = null;
  /** What the inner side had no room for yet. */
  private rest: Buffer | null = null;
  private restAt = 0;
  private ended = false;
  private clogged = false;
  private over = false;
  private readonly patienceMs: number;

  constructor(socket: Socket, tick: () => void, onOver: (relay: EdgeRelay) => void, patienceMs = PATIENCE_MS) {
    this.socket = socket;
    this.patienceMs = patienceMs;
    this.tick = tick;
    this.onOver = onOver;
    socket.setNoDelay(true);
    socket.on('data', (chunk) => this.fromClient(chunk));
    socket.on('end', () => {
      this.ended = true;
      if (this.rest === null) this.innerEnd();
    });
    socket.on('drain', () => {
      this.clogged = false;
      this.tick();
      this.pull();
    });
    // 'close' follows.
    socket.on('error', () => {});
    socket.on('close', () => this.clientGone());
  }

  /** Takes the inner connection, which is being opened; null: there can be none. */
  begin(connection: Connection | null): void {
    if (connection === null) return this.abort();
    this.connection = connection;
    connection.setNoDelay(true);
  }

  /** The guest is gone, or the edge closes: both sides see a reset. */
  abort(): void {
    const { connection } = this;
    this.connection = null;
    connection?.abort();
    this.socket.resetAndDestroy();
  }

  onOpen(): void {
    this.connection?.setKeepAlive(true, KEEP_ALIVE_MS);
    this.socket.resume();
  }

  onReadable(): void {
    this.pull();
  }

  onEnd(): void {
    this.pull();
  }

  onWritable(): void {
    if (this.rest !== null) this.push(this.rest, this.restAt);
  }

  onClose(error: number): void {
    // After an end in order there may be bytes that the client has not had yet: they can still be read, and the end is
    // behind them. The connection is closed with the socket.
    if (error === ERR_NONE) {
      this.pull();
      this.socket.setTimeout(this.patienceMs, () => this.abort());
      return;
    }
    this.connection?.close();
    this.connection = null;
    this.socket.resetAndDestroy();
  }

  private fromClient(chunk: Buffer): void {
    this.tick();
    this.push(chunk, 0);
  }

  private push(chunk: Buffer, at: number): void {
    const { connection } = this;
    if (connection === null) return;
    const done = at + connection.write(chunk, at);
    if (done < chunk.length) {
      if (this.rest === null) this.socket.pause();
      this.rest = chunk;
      this.restAt = done;
      return;
    }
    const waited = this.rest !== null;
    this.rest = null;
    if (!waited) return;
    if (this.ended) this.innerEnd();
    else this.socket.resume();
  }

  private innerEnd(): void {
    this.tick();
    this.connection?.shutdown();
  }

  private pull(): void {
    const { connection, socket } = this;
    if (connection === null || this.clogged) return;
    while (connection.readable > 0) {
      const bytes = Math.min(connection.readable, CHUNK);
      const chunk = bytes < 4096 ? Buffer.allocUnsafe(bytes) : Buffer.allocUnsafeSlow(bytes);
      connection.read(chunk);
      if (!socket.write(chunk)) {
        this.clogged = true;
        return;
      }
    }
    if (connection.ended && !socket.writableEnded) socket.end();
  }

  /** Nothing more comes from the client, and it reads nothing. */
  private clientGone(): void {
    if (this.over) return;
    this.over = true;
    const { connection } = this;
    this.connection = null;
    this.rest = null;
    if (connection !== null) {
      this.tick();
      // A socket that ended properly both ways has nothing left to say; everything else is broken off.
      if (this.ended && this.socket.writableFinished && !this.socket.errored) connection.close();
      else connection.abort();
    }
    this.onOver(this);
  }
}
