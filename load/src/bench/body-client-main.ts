/** A client of bodies, a process of its own: HTTP/1.1 over plain sockets, counts what comes and throws it away. The load generator of
 *  `grantline http` compares each byte, and is the bottleneck above 6 Gb/s; this one stays below the servers. Takes a plan by IPC, tells
 *  when it measures and what it counted, and ends with the channel. */
import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { endWithChannel } from '@grantline/base';
import { ResponseReader } from './response-reader.js';

export interface BodyPlan {
  /** http://host:port */
  url: string;
  /** Of the request. */
  path: string;
  /** Bytes of each body up; null: none is sent, and those down count. */
  upload: number | null;
  connections: number;
  /** Seconds before measuring starts. */
  warmup: number;
  seconds: number;
}

/** Of the measured time. */
export interface BodyCount {
  seconds: number;
  /** Of bodies, in the direction that counts. */
  bytes: number;
  answers: number;
  /** Connections that broke, and answers that were not as asked for. */
  faults: number;
}

/** A run of a plan, as results keep it. */
export interface BodyRun extends BodyCount {
  job: string;
  /** Who answers: the guest behind the edge, or the application on loopback. */
  target: 'edge' | 'loopback';
  round: number;
  /** CPU seconds of the process that the client talks to, in the measured time: the NIC with its edge, or the application's. */
  cpuSeconds: number;
}

export type BodyClientSays = { phase: 'begin' | 'end' } | { count: BodyCount } | { failed: string };

const READ_BYTES = 256 << 10;
const PIECE = Buffer.alloc(64 << 10, 0x67);

/** All connections of a plan, and what they have counted so far. */
class Clients {
  readonly reader: ResponseReader[] = [];
  sent = 0;
  broken = 0;
  private readonly sockets: Socket[] = [];
  private readonly plan: BodyPlan;
  private readonly request: Buffer;
  private ended = false;

  constructor(plan: BodyPlan) {
    this.plan = plan;
    const { host } = new URL(plan.url);
    const head =
      plan.upload === null
        ? `GET ${plan.path} HTTP/1.1\r\nHost: ${host}\r\n\r\n`
        : `POST ${plan.path} HTTP/1.1\r\nHost: ${host}\r\nContent-Type: application/octet-stream\r\nContent-Length: ${plan.upload}\r\n\r\n`;
    this.request = Buffer.from(head, 'latin1');
    for (let i = 0; i < plan.connections; i++) this.open();
  }

  get answers(): number {
    return this.reader.reduce((n, r) => n + r.answers, 0);
  }

  get bytes(): number {
    return this.plan.upload === null ? this.reader.reduce((n, r) => n + r.bytes, 0) : this.sent;
  }

  get faults(): number {
    return this.broken + this.reader.reduce((n, r) => n + r.faults, 0);
  }

  end(): void {
    this.ended = true;
    for (const s of this.sockets) s.destroy();
  }

  private open(): void {
    const { hostname, port } = new URL(this.plan.url);
    const reader = new ResponseReader();
    const buffer = Buffer.allocUnsafe(READ_BYTES);
    const onread = {
      buffer,
      callback: (bytes: number): boolean => {
        for (let whole = reader.take(buffer, bytes); whole > 0; whole--) this.ask(socket);
        return true;
      },
    };
    const socket = connect({ host: hostname.replace(/^\[|\]$/g, ''), port: Number(port), noDelay: true, onread });
    socket.on('connect', () => this.ask(socket));
    socket.on('error', () => {});
    socket.on('close', () => {
      if (!this.ended) this.broken++;
    });
    this.reader.push(reader);
    this.sockets.push(socket);
  }

  private ask(socket: Socket): void {
    socket.write(this.request);
    if (this.plan.upload !== null) this.send(socket, this.plan.upload);
  }

  private send(socket: Socket, left: number): void {
    if (left === 0) return;
    const piece = left < PIECE.length ? PIECE.subarray(0, left) : PIECE;
    // Called back once the kernel has it.
    socket.write(piece, (error) => {
      if (error) return;
      this.sent += piece.length;
      this.send(socket, left - piece.length);
    });
  }
}

async function count(plan: BodyPlan, tell: (phase: 'begin' | 'end') => void): Promise<BodyCount> {
  const clients = new Clients(plan);
  try {
    await sleep(plan.warmup * 1000);
    tell('begin');
    const start = performance.now();
    const { bytes, answers } = clients;
    await sleep(plan.seconds * 1000);
    const seconds = (performance.now() - start) / 1000;
    const out = {
      ...{ seconds, bytes: clients.bytes - bytes, answers: clients.answers - answers, faults: clients.faults },
    };
    tell('end');
    return out;
  } finally {
    clients.end();
  }
}

const say = (what: BodyClientSays): void => void process.send?.(what);

endWithChannel();
process.on('message', (plan: BodyPlan) => {
  count(plan, (phase) => say({ phase })).then(
    (c) => say({ count: c }),
    (error: unknown) => say({ failed: error instanceof Error ? error.message : String(error) }),
  );
});
