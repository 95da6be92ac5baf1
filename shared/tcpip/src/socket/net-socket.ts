/** A connection as a Node stream, with what http, ws and others expect of a net.Socket.
 *  For a server:
 *
 *      stack.listen(80, (connection) => accept(connection, (socket) => server.emit('connection', socket)));
 *
 *  One that connects is made with `connecting`, and gets the connection's events from then on. */
import { constants } from 'node:os';
import { Duplex } from 'node:stream';
import { formatIp } from '@grantline/frames';
import { ERROR_CODES, ERR_NONE, type ConnectionEvents } from '../tcp/tcb.js';
import type { Connection } from '../tcp/connection.js';

/** Most that one read takes from the receive buffer: a coalesced packet. */
const CHUNK = 1 << 16;

type Done = (error?: Error | null) => void;
interface Piece {
  chunk: Buffer;
}

export interface NetSocketOptions {
  /** False: ends when the peer ends. As net.Socket. */
  allowHalfOpen?: boolean;
}

export class NetSocket extends Duplex implements ConnectionEvents {
  connecting: boolean;
  bytesRead = 0;
  bytesWritten = 0;
  /** Milliseconds of silence after which 'timeout' is emitted; undefined: never. */
  timeout: number | undefined;
  private connection: Connection | null;
  private readonly local: [string, number];
  private readonly remote: [string, number];
  private wantsData = false;
  private pieces: Piece[] = [];
  private pendingAt = 0;
  private pendingDone: Done | null = null;
  private finishing: Done | null = null;
  private timer: NodeJS.Timeout | null = null;

  /** @param connecting false: the connection is open already */
  constructor(connection: Connection, connecting: boolean, options: NetSocketOptions = {}) {
    super({ allowHalfOpen: options.allowHalfOpen ?? false });
    this.connection = connection;
    this.connecting = connecting;
    this.local = [formatIp(connection.localIp), connection.localPort];
    this.remote = [formatIp(connection.remoteIp), connection.remotePort];
  }

  get remoteAddress(): string | undefined {
    return this.remote[0];
  }
  get remotePort(): number | undefined {
    return this.remote[1];
  }
  get remoteFamily(): string {
    return 'IPv4';
  }
  get localAddress(): string {
    return this.local[0];
  }
  get localPort(): number {
    return this.local[1];
  }
  get localFamily(): string {
    return 'IPv4';
  }
  /** As net.Socket's: not connected yet. */
  get pending(): boolean {
    return this.connecting;
  }
  get readyState(): 'opening' | 'open' | 'readOnly' | 'writeOnly' | 'closed' {
    if (this.connecting) return 'opening';
    if (this.readable && this.writable) return 'open';
    return this.readable ? 'readOnly' : this.writable ? 'writeOnly' : 'closed';
  }

  address(): { address: string; family: string; port: number } {
    return { address: this.local[0], family: 'IPv4', port: this.local[1] };
  }

  setNoDelay(on = true): this {
    this.connection?.setNoDelay(on);
    return this;
  }

  setKeepAlive(on = false, initialDelayMs = 0): this {
    this.connection?.setKeepAlive(on, initialDelayMs);
    return this;
  }

  /** As net.Socket's: tells, and leaves the rest to the listener. */
  setTimeout(ms: number, listener?: () => void): this {
    if (this.timer) clearTimeout(this.timer);
    this.timer = null;
    this.timeout = ms > 0 ? ms : undefined;
    if (listener) {
      if (ms > 0) this.once('timeout', listener);
      else this.removeListener('timeout', listener);
    }
    if (ms > 0 && !this.destroyed) {
      // As net.Socket's, it does not keep the process alive.
      this.timer = setTimeout(() => this.emit('timeout'), ms).unref();
    }
    return this;
  }

  /** Destroys once all that was written is in the send buffer. */
  destroySoon(): void {
    if (this.writable) this.end();
    if (this.writableFinished) this.destroy();
    else this.once('finish', () => this.destroy());
  }

  /** Closes by a reset. */
  resetAndDestroy(): this {
    this.connection?.abort();
    this.connection = null;
    return this.destroy();
  }

  /** What keeps the process alive is the link that the stack stands on, not its connections. */
  ref(): this {
    return this;
  }
  unref(): this {
    return this;
  }

  override _read(): void {
    this.wantsData = true;
    if (!this.connecting) this.pull();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: Done): void {
    this.send([{ chunk }], done);
  }

  override _writev(pieces: Piece[], done: Done): void {
    this.send(pieces, done);
  }

  override _final(done: Done): void {
    if (this.connecting) {
      this.finishing = done;
      return;
    }
    this.connection?.shutdown();
    done();
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    if (this.timer) clearTimeout(this.timer);
    this.timer = null;
    const { connection } = this;
    this.connection = null;
    if (connection) {
      // Something not written yet: the peer must not take it for an end. Else as net.Socket does, also with an error: a
      // server that answers 400 and destroys has its answer sent.
      if (this.pendingDone !== null && !this.connecting) connection.abort();
      else connection.close();
    }
    this.pieces = [];
    this.pendingDone = null;
    this.finishing = null;
    done(error);
  }

  onOpen(): void {
    if (!this.connecting) return;
    this.connecting = false;
    this.emit('connect');
    this.emit('ready');
    this.drainPending();
    if (this.finishing) {
      const done = this.finishing;
      this.finishing = null;
      this._final(done);
    }
    if (this.wantsData) this.pull();
  }

  onReadable(): void {
    this.timer?.refresh();
    if (this.wantsData) this.pull();
  }

  onEnd(): void {
    this.timer?.refresh();
    if (this.wantsData) this.pull();
    else if (this.readableLength === 0 && this.readableFlowing === null) this.read(0);
  }

  onWritable(): void {
    this.timer?.refresh();
    this.drainPending();
  }

  onClose(error: number): void {
    if (error === ERR_NONE) return;
    const place = this.connecting
      ? ({ syscall: 'connect', address: this.remote[0], port: this.remote[1] } as const)
      : ({ syscall: 'read' } as const);
    this.destroy(netError(error, place));
  }

  private pull(): void {
    const { connection } = this;
    while (this.wantsData && connection !== null && this.connection === connection) {
      const bytes = Math.min(connection.readable, CHUNK);
      if (bytes === 0) {
        if (connection.ended) {
          this.wantsData = false;
          this.push(null);
        }
        return;
      }
      const chunk = bytes > CHUNK >> 3 ? Buffer.allocUnsafeSlow(bytes) : Buffer.allocUnsafe(bytes);
      connection.read(chunk);
      this.bytesRead += bytes;
      if (!this.push(chunk)) this.wantsData = false;
    }
  }

  private send(pieces: Piece[], done: Done): void {
    this.pieces = pieces;
    this.pendingAt = 0;
    this.pendingDone = done;
    this.timer?.refresh();
    if (!this.connecting) this.drainPending();
  }

  /** Moves what is to be written into the send buffer; onWritable goes on when it was too much. */
  private drainPending(): void {
    const { connection } = this;
    if (this.pendingDone === null || connection === null) return;
    while (this.pieces.length > 0) {
      const { chunk } = this.pieces[0];
      const bytes = connection.write(chunk, this.pendingAt);
      this.bytesWritten += bytes;
      this.pendingAt += bytes;
      if (this.pendingAt < chunk.length) return;
      this.pieces.shift();
      this.pendingAt = 0;
    }
    const done = this.pendingDone;
    this.pendingDone = null;
    done();
  }
}

/** Makes a stream of a connection that was accepted: to be returned by the callback of NetStack.listen. Null when it was
 *  destroyed at once: the connection is reset. */
export function accept(
  connection: Connection,
  onSocket: (socket: NetSocket) => void,
  options: NetSocketOptions = { allowHalfOpen: true },
): NetSocket | null {
  const socket = new NetSocket(connection, false, options);
  onSocket(socket);
  return socket.destroyed ? null : socket;
}

interface NetErrorPlace {
  syscall: 'connect' | 'read' | 'write' | 'listen';
  address?: string;
  port?: number;
}

/** Errors of connections as Node has them: code, errno, syscall, address.
 *  @param error ERR_* or a code of Node's */
function netError(error: number | string, place: NetErrorPlace): NodeJS.ErrnoException {
  const code = typeof error === 'string' ? error : ERROR_CODES[error] || 'ECONNRESET';
  const where = place.address === undefined ? '' : ` ${place.address}:${place.port}`;
  const errno = (constants.errno as Record<string, number>)[code];
  return Object.assign(new Error(`${place.syscall} ${code}${where}`), { code, errno: errno && -errno, ...place });
}
