/** TCP put together: segments in, two lists worked off, connections opened. */
import type { PrivateMemory } from '@grantline/machine';
import type { Arp } from '../ip/arp.js';
import { Coalescer } from './coalescer.js';
import { Connection } from './connection.js';
import { C, type Host } from '../host.js';
import type { IpOut } from '../ip/ipv4.js';
import {
  type ConnectionEvents,
  type Listener,
  type Tcb,
  CLOSED,
  ERR_ABORTED,
  ERR_UNREACHABLE,
  EV_CLOSE,
  EV_END,
  EV_OPEN,
  EV_READABLE,
  EV_WRITABLE,
} from './tcb.js';
import { closeWith, isOpening } from './control.js';
import { TcpContext } from './context.js';
import { tcpInput } from './input.js';
import { startOpen } from './listen.js';
import { output } from './output.js';
import { onTimer } from './timers.js';

/** Decides who takes a new connection; null: nobody, it is reset. */
export type Accept = (connection: Connection) => ConnectionEvents | null;

export class Tcp {
  readonly context: TcpContext;
  readonly coalescer: Coalescer;

  constructor(host: Host, arp: Arp, out: IpOut, space: PrivateMemory, coalesce: boolean) {
    this.context = new TcpContext(host, arp, out, space);
    this.context.onTimer = onTimer;
    this.context.onAddress = onAddress;
    this.coalescer = new Coalescer(host, coalesce, (seg) => tcpInput(this.context, seg));
  }

  /** @param ip signed @returns null when no port is free or there are too many connections */
  connect(ip: number, port: number, events: ConnectionEvents, localPort = 0): Connection | null {
    const { context } = this;
    const { host, table } = context;
    if (table.active >= host.set.maxConnections) {
      host.v[C.tcpConnLimit]++;
      return null;
    }
    const from = localPort === 0 ? table.ephemeralPort(ip, port) : localPort;
    if (from === 0 || table.find(host.ip, from, ip, port) !== null) return null;
    const tcb = context.create(from, ip, port);
    tcb.events = events;
    startOpen(tcb);
    context.kick();
    return new Connection(tcb);
  }

  /** @throws RangeError when the port is taken */
  listen(port: number, backlog: number, accept: Accept): Listener {
    const { listeners } = this.context.table;
    if (!Number.isInteger(port) || port < 1 || port > 65535) throw new RangeError(`TCP port ${port} is out of range`);
    if (listeners.has(port)) throw new RangeError(`TCP port ${port} is in use`);
    const listener: Listener = {
      port,
      backlog,
      halfOpen: new Set(),
      accept: (tcb) => accept(new Connection(tcb)),
    };
    listeners.set(port, listener);
    return listener;
  }

  /** Tells applications what has happened, and sends what is to be sent. */
  flush(): void {
    const { context } = this;
    context.flushing = true;
    try {
      do {
        let tcb = context.takeEvent();
        if (tcb !== null) {
          context.onEvents(true);
          for (; tcb !== null; tcb = context.takeEvent()) dispatch(tcb);
          context.onEvents(false);
        }
        if (!this.send()) break;
      } while (!context.idle);
    } finally {
      context.flushing = false;
    }
  }

  /** @returns false when the link is full */
  private send(): boolean {
    const { context } = this;
    for (let tcb = context.takeDirty(); tcb !== null; tcb = context.takeDirty()) {
      if (output(tcb)) continue;
      context.markDirty(tcb);
      return false;
    }
    return true;
  }
}

function dispatch(tcb: Tcb): void {
  const bits = tcb.eventBits;
  tcb.eventBits = 0;
  if ((bits & EV_OPEN) !== 0 && !opened(tcb)) return;
  if ((bits & EV_READABLE) !== 0) tcb.events?.onReadable();
  if ((bits & EV_END) !== 0) tcb.events?.onEnd();
  if ((bits & EV_WRITABLE) !== 0) tcb.events?.onWritable();
  if ((bits & EV_CLOSE) !== 0) tcb.events?.onClose(tcb.error);
}

/** @returns false when nobody takes the connection */
function opened(tcb: Tcb): boolean {
  const { listener } = tcb;
  if (listener === null) {
    tcb.events?.onOpen();
    return true;
  }
  tcb.listener = null;
  // Reset by the peer before anybody was told.
  if (tcb.state !== CLOSED) tcb.events = listener.accept(tcb);
  if (tcb.events === null) {
    closeWith(tcb, ERR_ABORTED, true);
    tcb.rx.release();
    return false;
  }
  tcb.events.onOpen();
  return true;
}

/** The neighbour's address has come, or will not. */
function onAddress(tcb: Tcb, known: boolean): void {
  if (tcb.state === CLOSED) return;
  if (known) {
    tcb.tcp.markDirty(tcb);
  } else if (isOpening(tcb)) {
    tcb.tcp.host.v[C.tcpUnreachable]++;
    closeWith(tcb, ERR_UNREACHABLE);
  } else {
    // The retransmission timer tries again.
    tcb.neighbor = null;
  }
}
