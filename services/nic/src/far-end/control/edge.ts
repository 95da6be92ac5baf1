/** The edge: ordinary TCP ports of the host whose connections the outer stack carries to guests, one port for each guest.
 *  What is sent through it is not looked at. services/nic/README.md */
import type { Logs } from '@grantline/machine';
import { createServer, type AddressInfo, type Server } from 'node:net';
import { nowNs, WEB_PORT } from '@grantline/base';
import { parseIp } from '@grantline/frames';
import type { NetStack } from '@grantline/tcpip';
import type { ListenAddress } from '@grantline/service';
import { EdgeBudget, addressOf, edgeLimits, type EdgeLimits, type Refusal } from './edge-budget.js';
import { EdgeRelay, type Ending, type RelayHost } from './edge-relay.js';

const BACKLOG = 1024;
const MAX_DOORS = 256;
const keyOf = (domid: number, port: number): string => `${domid}:${port}`;

interface Door {
  domid: number;
  ip: string;
  /** Of the guest. */
  port: number;
  server: Server;
  relays: Set<EdgeRelay>;
  /** Resolves once it listens, or cannot. */
  ready: Promise<void>;
}

/** As GET /edge tells it. */
export interface EdgeDoor {
  domid: number;
  ip: string;
  /** The guest's port: 80 unless asked for. */
  port: number;
  /** host:port; null while it does not listen. */
  address: string | null;
  connections: number;
}

export interface EdgeOptions {
  stack: NetStack;
  listen: ListenAddress;
  log: Logs<'warn'>;
  /** Named as EDGE_COUNTERS. */
  counters: { v: Float64Array; commit(): void };
  /** Those of this process unless given. */
  limits?: EdgeLimits;
}

const REFUSED: Record<Refusal, string> = {
  refusedAll: 'the edge refuses clients: it has as many connections as it takes',
  refusedDoor: "the edge refuses clients: this guest's port has as many connections as it takes",
  refusedAddress: 'the edge refuses clients: one address has as many connections as it may',
};
const ENDED: Record<Ending, string> = {
  stalled: 'the edge ended a connection whose client did not take what was sent for it',
  idle: 'the edge ended a connection on which nothing moved',
  reclaimed: 'the edge ended the connections that were quiet for longest, because others needed the room',
};

export class Edge {
  private readonly stack: NetStack;
  private readonly listen: ListenAddress;
  private readonly log: EdgeOptions['log'];
  /** By guest and port. */
  private readonly doors = new Map<string, Door>();
  private readonly ips = new Map<number, string>();
  private readonly budget: EdgeBudget;
  private readonly tick = (): void => this.stack.poll(nowNs());

  constructor({ stack, listen, log, counters, limits = edgeLimits() }: EdgeOptions) {
    this.stack = stack;
    this.listen = listen;
    this.log = log;
    this.budget = new EdgeBudget(limits, counters);
  }

  /** Connections that are open now. */
  get connections(): number {
    return this.budget.connections;
  }

  /** Bytes that are under way between clients and guests in this process. */
  get heldBytes(): number {
    return this.budget.bytes;
  }

  describe(): { connections: number; heldBytes: number } {
    return { connections: this.connections, heldBytes: this.heldBytes };
  }

  /** There is a guest: opens the way to its web application. @returns once it listens, or cannot (which is logged) */
  async add(domid: number, ip: string): Promise<void> {
    const gone = this.remove(domid);
    this.ips.set(domid, ip);
    const { port } = this.listen;
    await this.openDoor(domid, ip, WEB_PORT, port === 0 ? 0 : port + domid - 1, gone).ready;
  }

  /** Opens a way to another port of a guest's, on a free port of the host.
   *  @returns the door; null when there is no such guest, or too many doors */
  async open(domid: number, port: number): Promise<EdgeDoor | null> {
    const ip = this.ips.get(domid);
    if (ip === undefined) return null;
    let door = this.doors.get(keyOf(domid, port));
    if (door === undefined) {
      if (this.doors.size >= MAX_DOORS) return null;
      door = this.openDoor(domid, ip, port, 0);
    }
    await door.ready;
    return this.list().find((d) => d.domid === domid && d.port === port) ?? null;
  }

  /** The door is in the list at once, so that nobody opens it a second time, and who takes the guest away finds it.
   *  @param after what has to be over before it may listen */
  private openDoor(domid: number, ip: string, port: number, at: number, after?: Promise<void>): Door {
    const relays = new Set<EdgeRelay>();
    const host: RelayHost = {
      tick: this.tick,
      budget: this.budget,
      onOver: (over) => relays.delete(over),
      onDrop: (why, { address }) => {
        // What is reclaimed is counted where it is chosen.
        if (why !== 'reclaimed') this.budget.count(why);
        this.log.warn({ domid, port, client: address }, ENDED[why]);
      },
    };
    const server = createServer({ allowHalfOpen: true, pauseOnConnect: true, noDelay: true }, (socket) => {
      const address = addressOf(socket.remoteAddress ?? '');
      const refusal = this.budget.refuses(address, relays);
      if (refusal !== null) {
        socket.on('error', () => {});
        socket.resetAndDestroy();
        this.log.warn({ domid, port, client: address }, REFUSED[refusal]);
        return;
      }
      const relay = new EdgeRelay(socket, address, host);
      relays.add(relay);
      this.tick();
      const inner = this.stack.connect(parseIp(ip), port, relay);
      if (inner === null) {
        this.budget.count('refusedByStack');
        this.log.warn({ domid, port }, 'the edge refuses clients: the stack has no room for another connection');
      }
      relay.begin(inner);
    });
    const door = { domid, ip, port, server, relays, ready: this.listening(server, domid, at, after) };
    this.doors.set(keyOf(domid, port), door);
    return door;
  }

  private async listening(server: Server, domid: number, at: number, after?: Promise<void>): Promise<void> {
    await after;
    await new Promise<void>((done) => {
      server.once('listening', done);
      server.on('error', (err) => {
        this.log.warn({ err, domid, port: at }, 'the edge cannot listen for this guest: choose another GRANTLINE_EDGE');
        done();
      });
      server.listen({ host: this.listen.host, port: at, backlog: BACKLOG });
    });
  }

  /** The guest is gone: its ports close, and connected clients see a reset. */
  async remove(domid: number): Promise<void> {
    this.ips.delete(domid);
    const doors = [...this.doors].filter(([, door]) => door.domid === domid);
    for (const [key] of doors) this.doors.delete(key);
    await Promise.all(doors.map(([, door]) => this.shut(door)));
  }

  private async shut({ server, relays, ready }: Door): Promise<void> {
    this.abort(relays);
    await ready;
    const closed = new Promise((done) => server.close(done));
    // Those that came while it was being opened.
    this.abort(relays);
    await closed;
  }

  private abort(relays: Set<EdgeRelay>): void {
    this.tick();
    for (const relay of [...relays]) relay.abort();
  }

  async close(): Promise<void> {
    for (const domid of [...this.ips.keys()]) await this.remove(domid);
  }

  list(): EdgeDoor[] {
    return [...this.doors.values()].map(({ domid, ip, port, server, relays }) => {
      const at = server.address() as AddressInfo | null;
      const address =
        at === null ? null : at.family === 'IPv6' ? `[${at.address}]:${at.port}` : `${at.address}:${at.port}`;
      return { domid, ip, port, address, connections: relays.size };
    });
  }
}
