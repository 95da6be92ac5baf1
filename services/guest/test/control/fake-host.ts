/* eslint-disable @typescript-eslint/require-await -- stand-ins for calls that take a while */
/** The hypervisor's side of a guest, in memory: a store with watches, ports, DMA mapping. The test plays netback. */
import {
  DMAOP_MAP_SELF,
  DMA_MAP_BYTES,
  DMA_MAP_RES_BYTES,
  HYPERCALL_HEADER_BYTES,
  STATUS_RES_BYTES,
  GRANT_ENTRIES,
  GRANT_ENTRY_BYTES,
  GTF_PERMIT_ACCESS,
  GTF_READING,
  XENBUS,
  backendPath,
  frontendPath,
  GrantTable,
  type XenstoreOp,
} from '@grantline/xen';
import { byMessages } from '@grantline/xen/testkit';
import { DOMID_DRIVER, parseDomId, type Port } from '@grantline/base';
import { CounterBlock, type Poller, memOver } from '@grantline/machine';
import { NETFRONT_COUNTERS, NETFRONT_TX_COUNTERS, DRIVER_COUNTERS } from '@grantline/observe';
import { FrontVif } from '../../src/control/front-vif.js';
import type { VifHost } from '../../src/control/vif-host.js';
import { PagePool } from '../../src/data/page-pool.js';

const PAGES = 1024;
export const GUEST = parseDomId(1);
export const FRONT = frontendPath(GUEST, 0);
export const BACK = backendPath(DOMID_DRIVER, GUEST, 0);

class FakeStore {
  readonly nodes = new Map<string, string>();
  private readonly watchers: { path: string; fn: (path: string) => void }[] = [];
  read = async (path: string): Promise<string | null> => this.nodes.get(path) ?? null;
  write = async (path: string, value: string | number): Promise<void> => this.put(path, String(value));
  directory = async (path: string): Promise<string[]> => [
    ...new Set(
      [...this.nodes.keys()].filter((p) => p.startsWith(`${path}/`)).map((p) => p.slice(path.length + 1).split('/')[0]),
    ),
  ];
  transaction = async (ops: readonly XenstoreOp[]): Promise<void> => {
    for (const op of ops) {
      if (op.op === 'write') this.nodes.set(op.path, op.value);
      else
        for (const p of [...this.nodes.keys()]) if (p === op.path || p.startsWith(`${op.path}/`)) this.nodes.delete(p);
    }
    for (const op of ops) this.fire(op.path);
  };
  watch = async (path: string, fn: (path: string) => void): Promise<() => Promise<void>> => {
    this.watchers.push({ path, fn });
    fn(path);
    return async () => undefined;
  };
  put(path: string, value: string): void {
    this.nodes.set(path, value);
    this.fire(path);
  }
  private fire(path: string): void {
    for (const w of this.watchers) if (path === w.path || path.startsWith(`${w.path}/`)) w.fn(path);
  }
}

export interface Factors {
  path?: string;
  'nic-queues'?: string;
  grants?: string;
  'buffer-bytes'?: string;
  lro?: string;
  tso?: string;
  batching?: string;
  generation?: string;
}
const BASELINE = {
  path: 'split',
  'nic-queues': 'single',
  grants: 'per-frame',
  'buffer-bytes': '4096',
  lro: '0',
  tso: '0',
  batching: '0',
  generation: '1',
};

export async function makeHost(factors: Factors = {}) {
  const mem = memOver(new ArrayBuffer((PAGES + 2) * 4096));
  const pages = new PagePool(mem, 0, PAGES);
  const grants = new GrantTable(mem, 0);
  const store = new FakeStore();
  const netfront = new CounterBlock(mem, PAGES * 4096, NETFRONT_COUNTERS);
  const driver = new CounterBlock(mem, PAGES * 4096 + 1024, DRIVER_COUNTERS);
  const netfrontTx = new CounterBlock(mem, PAGES * 4096 + 2048, NETFRONT_TX_COUNTERS);
  const pollers = new Set<Poller>();
  const onFault = new Map<Poller, (err: unknown) => void>();
  const openPorts = new Set<number>();
  /** What was asked of the hypervisor, in order. */
  const calls: string[] = [];
  let nextPort = 1;
  let unmapStatus = 0;
  const lro: boolean[] = [];
  /** Called in the middle of connecting. */
  const hooks = { during: (): void => undefined };
  const warnings: object[] = [];
  const host: VifHost = {
    domid: GUEST,
    mem,
    pages,
    grants,
    xenstore: store,
    client: {
      async request<T>(op: string): Promise<T> {
        calls.push(op);
        hooks.during();
        return { queue: 3 } as T;
      },
      hypercall: byMessages((bytes, onReply) => {
        const isMap = bytes.readUInt16LE(4) === DMAOP_MAP_SELF;
        const count = bytes.readUInt16LE(6);
        calls.push(`${isMap ? 'map' : 'unmap'} ${count}`);
        const size = isMap ? DMA_MAP_RES_BYTES : STATUS_RES_BYTES;
        const reply = Buffer.alloc(HYPERCALL_HEADER_BYTES + count * size);
        bytes.copy(reply, 0, 0, 4);
        reply.writeUInt16LE(count, 6);
        for (let i = 0; i < count; i++) {
          if (isMap)
            reply.writeUInt32LE(
              bytes.readUInt32LE(HYPERCALL_HEADER_BYTES + i * DMA_MAP_BYTES) + 7000,
              HYPERCALL_HEADER_BYTES + i * size + 4,
            );
          else reply.writeInt16LE(i === 0 ? unmapStatus : 0, HYPERCALL_HEADER_BYTES + i * size);
        }
        setImmediate(() => onReply(reply));
      }),
    },
    channels: {
      async allocUnbound(remote) {
        if (remote === DOMID_DRIVER) hooks.during();
        const port = nextPort++;
        openPorts.add(port);
        return {
          port: port as Port,
          notify: () => true,
          onEvent: () => undefined,
          async close() {
            calls.push(`close port to ${remote}`);
            openPorts.delete(port);
          },
        };
      },
    },
    loop: {
      add: (p, fault) => {
        pollers.add(p);
        if (fault) onFault.set(p, fault);
      },
      remove: (p) => void pollers.delete(p),
      schedule: () => undefined,
    },
    laps: { now: 0, lap: () => undefined },
    after: () => () => undefined,
    netfront,
    driver,
    netfrontTx,
    sender: { scheduled: false, poll: () => 0, arm: () => false, attach: () => undefined },
    log: { info: () => undefined, warn: (what) => void warnings.push(what), error: (what) => void warnings.push(what) },
    sink(on) {
      lro.push(on);
      return { fragment: () => undefined, process: () => undefined, deliver: () => undefined };
    },
  };
  const setFactors = (f: Factors): void => {
    for (const [key, value] of Object.entries(f)) store.nodes.set(`${BACK}/${key}`, String(value));
  };
  setFactors({ ...BASELINE, ...factors });
  const front = {
    backend: BACK,
    'backend-id': String(DOMID_DRIVER),
    mac: '02:00:00:00:00:01',
    ip: '10.0.0.1',
    state: '1',
  };
  for (const [key, value] of Object.entries(front)) store.nodes.set(`${FRONT}/${key}`, value);

  const start = { pages: pages.free, grants: grants.free };
  let readyTimes = 0;
  const vif = new FrontVif(host, () => void readyTimes++);
  await vif.begin();
  const settle = async (): Promise<void> => {
    for (let i = 0; i < 4; i++) {
      await vif.look();
      await new Promise((r) => setImmediate(r));
    }
  };
  let offers = 0;
  /** Netback: its next state; InitWait with a new offer. */
  const backend = async (state: keyof typeof XENBUS, offer?: string): Promise<void> => {
    const fresh = `${store.nodes.get(`${BACK}/generation`)}.${offers++}`;
    if (state === 'initWait') store.nodes.set(`${BACK}/offer`, offer ?? fresh);
    store.put(`${BACK}/state`, String(XENBUS[state]));
    await settle();
  };
  const key = (name: string): string | undefined => store.nodes.get(`${FRONT}/${name}`);
  const granted = (): number[] => {
    const out: number[] = [];
    for (let g = 8; g < GRANT_ENTRIES; g++)
      if ((mem.u16[(g * GRANT_ENTRY_BYTES) >> 1] & GTF_PERMIT_ACCESS) !== 0) out.push(g);
    return out;
  };
  const pin = (gref: number): void => void (mem.u16[(gref * GRANT_ENTRY_BYTES) >> 1] |= GTF_READING);
  const missing = () => ({
    pages: start.pages - pages.free,
    grants: start.grants - grants.free,
    ports: openPorts.size,
    pollers: pollers.size,
  });
  const count = (name: keyof typeof NETFRONT_COUNTERS.counters): number =>
    netfront.v[NETFRONT_COUNTERS.names.indexOf(name)];
  return {
    get during() {
      return hooks.during;
    },
    set during(fn: () => void) {
      hooks.during = fn;
    },
    warnings,
    mem,
    pages,
    grants,
    store,
    vif,
    calls,
    pollers,
    onFault,
    openPorts,
    lro,
    setFactors,
    settle,
    backend,
    key,
    granted,
    pin,
    missing,
    count,
    refuseUnmap: (status: number) => void (unmapStatus = status),
    ready: () => readyTimes,
  };
}
