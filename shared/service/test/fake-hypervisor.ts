/** A hypervisor for tests: real sockets, made-up answers. Not a test itself. */
import { randomBytes } from 'node:crypto';
import { closeSync, rmSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { WebSocketServer, type WebSocket } from 'ws';
import { pino } from 'pino';
import { PAGE_SIZE, type DomId } from '@grantline/base';
import { COUNTER_FILE_BYTES, DescriptorDoor, makeMemory } from '@grantline/machine';
import { Bell, anew, testDir } from '@grantline/machine/testkit';
import type { ServiceEnv } from '../src/env.js';

export const quiet = pino({ level: 'silent' });

export type Answer = (op: string, args: Record<string, unknown>, fake: FakeHypervisor) => unknown;

export class FakeHypervisor {
  readonly dir: string;
  readonly secret = 'open sesame';
  readonly joinToken = 'let me in';
  /** Kinds that came with the join token. */
  readonly joined: unknown[] = [];
  /** Requests that came, as op and args. */
  readonly asked: { op: string; args: Record<string, unknown> }[] = [];
  welcome: Record<string, unknown> = { domid: 3, kind: 'guest', memoryPages: 16, guests: [], controlKey: 'the key' };
  /** Throw an object with a code to refuse. */
  answer: Answer = () => ({});
  /** Gets each batch; by default it is echoed with rc 0 and no results. */
  onBatch: (batch: Buffer, ws: WebSocket) => void = (batch, ws) => {
    const reply = Buffer.alloc(8);
    reply.writeUInt32LE(batch.readUInt32LE(0), 0);
    reply.writeUInt16LE(batch.readUInt16LE(6), 6);
    ws.send(reply);
  };
  /** What it hands out to its domain. */
  readonly shared: Record<string, () => number>;
  private readonly own = {
    memory: makeMemory('test', 16 * PAGE_SIZE),
    counters: makeMemory('test', COUNTER_FILE_BYTES),
    bell: new Bell(),
  };
  private door: DescriptorDoor | null = null;
  private readonly tickets = new Map<string, string>();
  connections = 0;
  ws: WebSocket | null = null;
  private readonly http: Server;
  private readonly wss = new WebSocketServer({ noServer: true, perMessageDeflate: false });

  constructor(dir = testDir()) {
    this.dir = dir;
    this.http = createServer((_req, res) => res.writeHead(404).end());
    this.http.on('upgrade', (req, socket, head) => this.upgrade(req, socket, head));
    const { memory, counters, bell } = this.own;
    this.shared = { memory: () => anew(memory), counters: () => anew(counters), doorbell: () => bell.hears };
  }

  /** Where the counters of its domain can be read. */
  get countersPath(): string {
    return `/proc/self/fd/${this.own.counters}`;
  }

  get socket(): string {
    return join(this.dir, 'hypervisor.sock');
  }

  listen(): Promise<void> {
    this.door = new DescriptorDoor(join(this.dir, 'shared.sock'), (ticket) => {
      const open = this.shared[this.tickets.get(ticket) ?? ''];
      this.tickets.delete(ticket);
      return open === undefined ? null : open();
    });
    return new Promise((resolve) => this.http.listen(this.socket, resolve));
  }

  /** On TCP instead. @returns the port */
  listenTcp(): Promise<number> {
    return new Promise((resolve) => {
      this.http.listen(0, '127.0.0.1', () => resolve((this.http.address() as { port: number }).port));
    });
  }

  event(event: string, args: object): void {
    this.ws?.send(JSON.stringify({ event, args }));
  }

  close(): void {
    for (const ws of this.wss.clients) ws.terminate();
    this.http.close();
    this.http.closeAllConnections();
    this.door?.close();
    closeSync(this.own.memory);
    closeSync(this.own.counters);
    this.own.bell.close();
    rmSync(this.dir, { recursive: true, force: true });
  }

  /** Settings of a domain of this hypervisor. */
  env(over: Partial<ServiceEnv> = {}): ServiceEnv {
    return {
      kind: 'guest',
      dir: this.dir,
      hypervisor: `ws+unix://${this.socket}`,
      domid: 3 as DomId,
      secret: this.secret,
      join: null,
      token: null,
      http: { host: '127.0.0.1', port: 0 },
      httpNames: [],
      uid: null,
      gid: null,
      groups: [],
      log: 'silent',
      core: null,
      nativeCore: null,
      sharers: 1,
      roles: null,
      reclaim: false,
      lifeline: false,
      hypercalls: 'messages',
      farEnd: { kind: 'stack' },
      edge: { host: '127.0.0.1', port: 0 },
      tap: null,
      tapOffload: true,
      ...over,
    };
  }

  private upgrade(req: IncomingMessage, socket: Duplex, head: Buffer): void {
    const domid = String(this.welcome.domid);
    if (req.url !== '/hypercall') return void socket.end('HTTP/1.1 404 Not Found\r\nconnection: close\r\n\r\n');
    const joining = req.headers['x-grantline-join'];
    if (joining !== undefined && req.headers.authorization === `Bearer ${this.joinToken}`) this.joined.push(joining);
    else if (req.headers['x-grantline-domid'] !== domid || req.headers.authorization !== `Bearer ${this.secret}`)
      return void socket.end('HTTP/1.1 401 Unauthorized\r\nconnection: close\r\n\r\n');
    if (this.ws?.readyState === 1) return void socket.end('HTTP/1.1 409 Conflict\r\nconnection: close\r\n\r\n');
    this.wss.handleUpgrade(req, socket, head, (ws) => this.serve(ws));
  }

  private serve(ws: WebSocket): void {
    this.connections++;
    this.ws = ws;
    this.event('welcome', this.welcome);
    ws.on('message', (data: Buffer, binary: boolean) => {
      if (binary) return this.onBatch(data, ws);
      const { id, op, args } = JSON.parse(data.toString()) as { id: number; op: string; args: Record<string, unknown> };
      if (op === 'shared.ticket') {
        const ticket = randomBytes(16).toString('hex');
        this.tickets.set(ticket, String(args.of));
        return ws.send(JSON.stringify({ id, result: { ticket } }));
      }
      this.asked.push({ op, args });
      try {
        ws.send(JSON.stringify({ id, result: this.answer(op, args, this) }));
      } catch (err) {
        const { code, message } = err as { code: string; message: string };
        ws.send(JSON.stringify({ id, error: { code, message } }));
      }
    });
  }
}
