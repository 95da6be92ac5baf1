/** A real hypervisor on a directory of its own, and domains that talk to it with nothing but a WebSocket. */
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import { isIP, type AddressInfo } from 'node:net';
import { closeSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { SHARED_SOCKET, type SharedKind, showPlace } from '@grantline/xen';
import { fetchDescriptor } from '@grantline/machine';
import { PROOF_PATH, proofOf, createLogTo } from '@grantline/service';
import type { Test } from 'tap';
import { WebSocket } from 'ws';
import { Hypervisor, type HypervisorOptions } from '../../src/control/hypervisor.js';
import type { DomainKind } from '../../src/control/domains.js';

export const TOKEN = 'operator';
let beds = 0;

export const tempDir = (): string => `/dev/shm/grantline-test-${process.pid}-${++beds}`;

export interface Bed {
  hv: Hypervisor;
  url: string;
  dir: string;
  stopped: () => number;
  create(kind: DomainKind): Promise<{ domid: number; secret: string }>;
  api(method: string, path: string, body?: unknown, token?: string): Promise<{ status: number; body: Json }>;
  open(kind: DomainKind): Promise<Peer>;
  /** A descriptor as that peer gets it; closed in the end. */
  shared(peer: Peer, of: SharedKind, domid?: number): Promise<number>;
  close(): Promise<void>;
}

/** Starts it. */
export async function bed(
  t: Test,
  nicTimeoutMs = 5000,
  availableMemory?: () => number,
  more: Partial<HypervisorOptions> = {},
): Promise<Bed> {
  const root = tempDir();
  mkdirSync(root);
  const dir = join(root, 'testbed');
  let stopped = 0;
  const log = createLogTo({ kind: 'hypervisor', domid: null, log: 'fatal' }, { write: () => {} });
  const listen = { host: '127.0.0.1', port: 0 };
  const { hypervisor: hv, url } = await Hypervisor.start({
    dir,
    token: TOKEN,
    listen,
    log,
    onShutdown: () => void stopped++,
    nicTimeoutMs,
    ...(availableMemory === undefined ? {} : { availableMemory }),
    ...more,
  });
  const peers: Peer[] = [];
  const fds: number[] = [];
  const b: Bed = {
    hv,
    url,
    dir,
    stopped: () => stopped,
    async api(method, path, body, token = TOKEN) {
      const headers: Record<string, string> = { authorization: `Bearer ${token}` };
      if (body !== undefined) headers['content-type'] = 'application/json';
      const r = await fetch(url + path, {
        method,
        headers,
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      });
      const text = await r.text();
      return { status: r.status, body: text === '' ? ({} as Json) : (JSON.parse(text) as Json) };
    },
    async create(kind) {
      const r = await b.api('POST', '/api/domains', { kind });
      if (r.status !== 200) throw new Error(JSON.stringify(r.body));
      return r.body;
    },
    async open(kind) {
      const { domid, secret } = await b.create(kind);
      const peer = await Peer.connect(url, domid, secret);
      peers.push(peer);
      return peer;
    },
    async shared(peer, of, domid = peer.domid) {
      const { ticket } = await peer.ask('shared.ticket', { of, domid });
      const fd = await fetchDescriptor(join(dir, SHARED_SOCKET), ticket);
      fds.push(fd);
      return fd;
    },
    async close() {
      for (const fd of fds) closeSync(fd);
      for (const p of peers) p.ws.terminate();
      await hv.stop();
      rmSync(root, { recursive: true, force: true });
    },
  };
  t.teardown(() => b.close());
  return b;
}

/** The HTTP status with which an upgrade is refused, or 101. */
export function upgradeStatus(url: string, headers: Record<string, string>): Promise<number> {
  return new Promise((resolve) => {
    const ws = new WebSocket(`${url.replace('http', 'ws')}/hypercall`, { headers });
    ws.on('unexpected-response', (request, response) => {
      request.destroy();
      resolve(response.statusCode ?? 0);
    });
    ws.on('open', () => {
      ws.terminate();
      resolve(101);
    });
    ws.on('error', () => {});
  });
}

/** What replies, events and bodies may hold: each has some of it. */
export interface Json {
  domid: number;
  rates: unknown;
  secret: string;
  controlKey: string;
  port: number;
  queue: number;
  rid: number;
  value: string;
  path: string;
  token: string;
  ticket: string;
  message: string;
  settled: boolean;
  generation: number;
  guests: number[];
  domains: { state: string }[];
  entries: unknown;
  vifs: unknown;
  dataThreadCpuNs: number;
  blocks: { kind: string; values: Record<string, number> }[];
}

export interface Event {
  event: string;
  args: Json;
}

export interface Answer {
  id: number;
  result?: Json;
  error?: { code: string; message: string };
}

/** One domain's end of the socket. */
export class Peer {
  readonly ws: WebSocket;
  domid: number;
  readonly events: Event[] = [];
  readonly binary: Buffer[] = [];
  readonly order: string[] = [];
  closeCode: number | null = null;
  private nextId = 1;
  private readonly waiting: { ok: () => boolean; resolve: () => void }[] = [];
  private readonly answers = new Map<number, Answer>();

  constructor(ws: WebSocket, domid: number) {
    this.ws = ws;
    this.domid = domid;
    ws.on('message', (data: Buffer, isBinary: boolean) => {
      if (isBinary) {
        this.binary.push(Buffer.from(data));
      } else {
        const m = JSON.parse(data.toString()) as Answer | Event;
        if ('event' in m) this.events.push(m);
        else this.answers.set(m.id, m);
        this.order.push('event' in m ? m.event : `reply ${m.id}`);
      }
      this.look();
    });
    ws.on('close', (code: number) => {
      this.closeCode = code;
      this.look();
    });
    ws.on('error', () => {});
  }

  static async connect(url: string, domid: number, secret: string): Promise<Peer> {
    const ws = new WebSocket(`${url.replace('http', 'ws')}/hypercall`, {
      headers: { 'x-grantline-domid': String(domid), authorization: `Bearer ${secret}` },
    });
    const peer = new Peer(ws, domid);
    await peer.until(() => peer.events.length > 0 || peer.closeCode !== null);
    return peer;
  }

  /** Becomes a domain by the join token in `dir`. */
  static async join(url: string, dir: string, kind: DomainKind, show = true): Promise<Peer> {
    const token = readFileSync(join(dir, 'join', kind), 'utf8').trim();
    const ws = new WebSocket(`${url.replace('http', 'ws')}/hypercall`, {
      headers: {
        'x-grantline-join': kind,
        authorization: `Bearer ${token}`,
        ...(show ? { 'x-grantline-place': (await showPlace(dir)) ?? '' } : {}),
      },
    });
    const peer = new Peer(ws, 0);
    await peer.until(() => peer.events.length > 0 || peer.closeCode !== null);
    peer.domid = peer.events[0]?.args.domid ?? 0;
    return peer;
  }

  async call(op: string, args: object = {}): Promise<Answer> {
    const id = this.nextId++;
    this.ws.send(JSON.stringify({ id, op, args }));
    await this.until(() => this.answers.has(id) || this.closeCode !== null);
    return this.answers.get(id)!;
  }

  /** The result, or the error's code. */
  async ask(op: string, args: object = {}): Promise<Json> {
    const a = await this.call(op, args);
    // An error's code where a result should be: the tests compare it, they do not look into it.
    return a.error ? (a.error.code as unknown as Json) : a.result!;
  }

  /** Listens as the domain's service does: it proves whose it is. Until the peer is disconnected. @returns the URL */
  async listen(host = '127.0.0.1', named = host): Promise<string> {
    const { controlKey } = await this.event('welcome');
    const server = await listening(host, (question) => proofOf(controlKey, question));
    this.ws.once('close', () => server.close());
    return `http://${isIP(named) === 6 ? `[${named}]` : named}:${(server.address() as AddressInfo).port}`;
  }

  /** Announces an address where it listens. @returns it */
  async announce(host = '127.0.0.1'): Promise<string> {
    const http = await this.listen(host);
    const answer = await this.call('service.announce', { http, pid: process.pid });
    if (answer.error) throw new Error(answer.error.message);
    return http;
  }

  until(ok: () => boolean): Promise<void> {
    if (ok()) return Promise.resolve();
    return new Promise((resolve) => this.waiting.push({ ok, resolve }));
  }

  /** Waits for the n-th event of a name (from 1). */
  async event(name: string, n = 1): Promise<Json> {
    const found = (): { args: Json }[] => this.events.filter((e) => e.event === name);
    await this.until(() => found().length >= n);
    return found()[n - 1].args;
  }

  /** A hypercall of one command. @returns the reply */
  async hypercall(cmd: number, count: number, elements: Buffer, seq = 7): Promise<Buffer> {
    const n = this.binary.length;
    const head = Buffer.alloc(8);
    head.writeUInt32LE(seq, 0);
    head.writeUInt16LE(cmd, 4);
    head.writeUInt16LE(count, 6);
    this.ws.send(Buffer.concat([head, elements]));
    await this.until(() => this.binary.length > n || this.closeCode !== null);
    return this.binary[n];
  }

  /** Maps own pages for the NIC. @returns dpns */
  async mapSelf(pfns: number[]): Promise<number[]> {
    const e = Buffer.alloc(8 * pfns.length);
    pfns.forEach((pfn, i) => {
      e.writeUInt32LE(pfn, 8 * i);
      e.writeUInt32LE(2, 8 * i + 4);
    });
    const r = await this.hypercall(0x100, pfns.length, e);
    return pfns.map((_, i) => r.readUInt32LE(8 + 8 * i + 4));
  }

  /** @returns a status for each */
  async unmapSelf(dpns: number[]): Promise<number[]> {
    const e = Buffer.alloc(4 * dpns.length);
    dpns.forEach((dpn, i) => e.writeUInt32LE(dpn, 4 * i));
    const r = await this.hypercall(0x101, dpns.length, e);
    return dpns.map((_, i) => r.readInt16LE(8 + 2 * i));
  }

  private look(): void {
    for (const w of [...this.waiting]) {
      if (!w.ok()) continue;
      this.waiting.splice(this.waiting.indexOf(w), 1);
      w.resolve();
    }
  }
}

/** A server that answers each question. */
export async function listening(host: string, prove: (question: string) => string): Promise<Server> {
  const server = createServer((request, response) => {
    const url = new URL(request.url ?? '', 'http://x');
    response.end(url.pathname === PROOF_PATH ? prove(url.searchParams.get('question') ?? '') : '');
  }).listen(0, host);
  await once(server, 'listening');
  return server;
}
