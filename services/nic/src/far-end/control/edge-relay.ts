/** One connection through the edge: a TCP socket of the host on one side, a connection of the outer stack on the other.
 *  Bytes, half-closes and resets are carried over both ways; who does not read holds the other side back. */
import type { Socket } from 'node:net';
import { type Connection, type ConnectionEvents, ERR_NONE } from '@grantline/tcpip';
import type { EdgeBudget, Spender } from './edge-budget.js';

/** Most that is carried to a client in one turn of the event loop, bytes. */
const TURN_BYTES = 1 << 19;
/** Silence after which guest and client are asked whether they are there. */
const KEEP_ALIVE_MS = 60_000;

/** Why the edge ends a connection by itself. */
export type Ending = 'stalled' | 'idle' | 'reclaimed';

export interface RelayHost {
  /** Tells the stack the time: it is used between the loop's turns. */
  tick: () => void;
  budget: EdgeBudget;
  /** The connection is over. */
  onOver: (relay: EdgeRelay) => void;
  /** It is being ended by the edge. */
  onDrop: (why: Ending, relay: EdgeRelay) => void;
}

export class EdgeRelay implements ConnectionEvents, Spender {
  readonly address: string;
  movedMs: number;
  private readonly socket: Socket;
  private readonly host: RelayHost;
  private connection: Connection | null = null;
  /** What the inner side had no room for yet. */
  private unsent: Buffer | null = null;
  private unsentAt = 0;
  /** Bytes of the write that the client's socket has not taken yet, where the stack has received them; 0: none is under way. */
  private writing = 0;
  /** Whose they are: also when the connection is over already, since the kernel may still read them. */
  private lender: Connection | null = null;
  /** Bytes written since the event loop last had its turn between two writes. */
  private turnBytes = 0;
  private waitsForTurn = false;
  private ended = false;
  private innerOver = false;
  private over = false;
  /** The client has closed both ways, and the guest has not taken all that it sent. */
  private lingers: NodeJS.Timeout | null = null;
  /** How long nothing has moved, by time-outs of the socket. */
  private quietMs = 0;
  private readonly onTaken: (error?: Error | null) => void;

  /** @param address as the budget counts it */
  constructor(socket: Socket, address: string, host: RelayHost) {
    this.socket = socket;
    this.address = address;
    this.host = host;
    this.movedMs = host.budget.nowMs;
    this.onTaken = (error) => this.taken(error);
    socket.setNoDelay(true);
    socket.setKeepAlive(true, KEEP_ALIVE_MS);
    socket.on('data', (chunk) => this.fromClient(chunk));
    socket.on('end', () => {
      this.ended = true;
      if (this.unsent === null) this.innerEnd();
    });
    // Node's own: it sees a long write go on.
    socket.setTimeout(host.budget.limits.stallMs).on('timeout', () => this.quiet());
    // 'close' follows.
    socket.on('error', () => {});
    socket.on('close', () => this.clientGone());
    host.budget.add(this);
  }

  get heldBytes(): number {
    return this.writing + (this.unsent?.length ?? 0);
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
    if (connection !== null) {
      this.host.tick();
      connection.abort();
    }
    this.letGo();
    this.socket.resetAndDestroy();
  }

  drop(why: Ending): void {
    this.host.onDrop(why, this);
    this.abort();
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
    if (this.unsent !== null) this.push(this.unsent, this.unsentAt);
  }

  onClose(error: number): void {
    // After an end in order there may be bytes that the client has not had yet: they can still be read, and the end is
    // behind them. The connection is closed with the socket.
    if (error === ERR_NONE) {
      this.innerOver = true;
      this.pull();
      return;
    }
    this.connection?.close();
    this.connection = null;
    this.socket.resetAndDestroy();
    // Of a socket that is closed already no 'close' comes.
    if (this.lingers !== null) this.letGo();
  }

  private fromClient(chunk: Buffer): void {
    this.moved();
    this.host.tick();
    this.push(chunk, 0);
    if (this.unsent !== null) this.host.budget.keepWithin();
  }

  private push(chunk: Buffer, at: number): void {
    const { connection } = this;
    if (connection === null) return;
    const bytes = connection.write(chunk, at);
    if (bytes > 0) {
      this.movedMs = this.host.budget.nowMs;
      this.lingers?.refresh();
    }
    const done = at + bytes;
    const waited = this.unsent !== null;
    if (done < chunk.length) {
      this.unsent = chunk;
      this.unsentAt = done;
      if (waited) return;
      this.socket.pause();
      this.host.budget.hold(chunk.length);
      return;
    }
    if (!waited) return;
    this.unsent = null;
    this.host.budget.hold(-chunk.length);
    if (this.ended) this.innerEnd();
    else this.socket.resume();
    if (this.lingers !== null) this.closeInner();
  }

  private innerEnd(): void {
    this.host.tick();
    this.connection?.shutdown();
  }

  /** One write at a time, of no more than this connection's share: what a client does not take stays with the guest. The kernel
   *  copies it from where the stack has received it. */
  private pull(): void {
    const { connection, socket } = this;
    if (connection === null || this.lender !== null || this.waitsForTurn) return;
    if (connection.readable > 0) {
      if (this.turnBytes >= TURN_BYTES) return this.waitForTurn();
      const bytes = connection.lend(this.host.budget.share());
      if (bytes === null) return;
      this.lender = connection;
      this.writing = bytes.length;
      this.turnBytes += bytes.length;
      this.host.budget.hold(bytes.length);
      socket.write(bytes, this.onTaken);
      return;
    }
    if (connection.ended && !socket.writableEnded) socket.end();
  }

  private waitForTurn(): void {
    this.waitsForTurn = true;
    setImmediate(() => {
      this.waitsForTurn = false;
      this.turnBytes = 0;
      this.host.tick();
      this.pull();
    });
  }

  /** The client's socket has taken what was written, or never will. */
  private taken(error?: Error | null): void {
    this.host.budget.hold(-this.writing);
    this.writing = 0;
    this.host.tick();
    this.lender?.endLoan();
    this.lender = null;
    if (error || this.over) return;
    this.moved();
    this.pull();
  }

  private moved(): void {
    this.movedMs = this.host.budget.nowMs;
    this.quietMs = 0;
  }

  /** Nothing has moved between us and the client for as long as a stalled one is borne with. */
  private quiet(): void {
    const { limits } = this.host.budget;
    // Of a connection that is over no timer of the stack's watches over what is left of it.
    if (this.writing > 0 || this.innerOver) return this.drop('stalled');
    this.quietMs += limits.stallMs;
    if (this.quietMs >= limits.idleMs) return this.drop('idle');
    this.socket.setTimeout(limits.stallMs);
  }

  /** Nothing more comes from the client, and it reads nothing. */
  private clientGone(): void {
    // A socket that ended properly both ways has nothing left to say, but what it said may still be on its way to the guest;
    // everything else is broken off.
    const orderly = this.ended && this.socket.writableFinished && !this.socket.errored;
    if (this.connection !== null && orderly && this.unsent !== null) {
      this.lingers = setTimeout(() => this.drop('idle'), this.host.budget.limits.idleMs).unref();
      return;
    }
    this.host.tick();
    if (orderly) return this.closeInner();
    this.connection?.abort();
    this.connection = null;
    this.letGo();
  }

  private closeInner(): void {
    this.connection?.close();
    this.connection = null;
    this.letGo();
  }

  /** Of everything that the budget counts. */
  private letGo(): void {
    if (this.over) return;
    this.over = true;
    if (this.lingers !== null) clearTimeout(this.lingers);
    this.lingers = null;
    const { budget, onOver } = this.host;
    budget.hold(-this.heldBytes);
    this.unsent = null;
    this.writing = 0;
    budget.remove(this);
    onOver(this);
  }
}
