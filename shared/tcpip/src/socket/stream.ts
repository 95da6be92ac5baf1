/** Connections as Node streams, for programs that know net.Socket only. For a server:
 *
 *      stack.listen(80, (connection) => accept(connection, (socket) => server.emit('connection', socket)));
 *
 *  and for a client: `http.request({ createConnection: () => connectStream(stack, { host, port }) })`. */
import { parseIp } from '@grantline/frames';
import type { Connection } from '../tcp/connection.js';
import { netError } from './net-error.js';
import { NetSocket, type NetSocketOptions } from './net-socket.js';
import type { NetStack } from '../net-stack.js';
import type { ConnectionEvents } from '../tcp/tcb.js';

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

/** Opens a connection as a stream: 'connect', or 'error' with Node's codes. @throws RangeError on a bad address */
export function connectStream(
  stack: NetStack,
  to: { host: string; port: number; localPort?: number } & NetSocketOptions,
): NetSocket {
  const relay = new Relay();
  const connection = stack.connect(parseIp(to.host), to.port, relay, to.localPort ?? 0);
  if (connection === null) throw netError('EADDRNOTAVAIL', { syscall: 'connect', address: to.host, port: to.port });
  const socket = new NetSocket(connection, true, to);
  connection.setEvents(socket);
  return socket;
}

/** Stands in until the stream exists; nothing is told before the next flush. */
class Relay implements ConnectionEvents {
  onOpen(): void {}
  onReadable(): void {}
  onEnd(): void {}
  onWritable(): void {}
  onClose(): void {}
}
