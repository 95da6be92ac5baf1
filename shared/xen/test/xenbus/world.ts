/** A xenstore, a toolstack and the two ends of a vif, of which every request, reply, event and delay is a step that the
 *  test picks: any interleaving that sockets allow can happen. Not a test itself. */
import { XENBUS } from '../../src/abi/xenbus.js';
import { Rng, CONFIGURATIONS, configurationNames, factorKeys, type Factors } from '@grantline/base';
import type { XenstoreOp } from '../../src/hypervisor/xenstore-client.js';
import { NotNow } from '../../src/hypervisor/hypervisor-port.js';
import { XenbusBackend } from '../../src/xenbus/backend.js';
import { XenbusFrontend } from '../../src/xenbus/frontend.js';
import { Client } from './client.js';

export const BACK = '/back';
export const FRONT = '/front';

interface Step {
  who: Client | null;
  run: () => void;
}

export type Action = 'configure' | 'backend-fault' | 'frontend-fault' | 'crash' | 'nic-goes' | 'gate-shuts';

export class World {
  readonly nodes = new Map<string, string>();
  generation = 0;
  factors: Factors = CONFIGURATIONS.baseline;
  /** Grants that the guest has issued, and those that a driver domain uses. */
  readonly granted = new Set<number>();
  readonly mapped = new Set<number>();
  /** What must never be. */
  readonly wrong: string[] = [];
  steps = 0;
  backend: XenbusBackend | null = null;
  readonly frontend: XenbusFrontend;
  backUses: Factors | null = null;
  frontUses: Factors | null = null;
  private readonly rng: Rng;
  private readonly clients: Client[] = [];
  private readonly actions: Action[];
  private readonly faultsEnd: number;
  private nic = true;
  private gate = true;
  private offers = 1;
  private nextRef = 1;
  private nextActionAt = 0;
  private burst = 0;
  private favourite: Client | null = null;
  private backClient: Client | null = null;

  /** Faults that hit a connection. */
  faults = 0;

  /** @param actions of the toolstack, in order
   *  @param faultsAfter false: after the last `configure` nothing goes wrong by anybody's fault */
  constructor(seed: number, actions: readonly Action[], faultsAfter = false) {
    this.rng = new Rng(seed);
    this.actions = [...actions];
    this.faultsEnd = faultsAfter ? Infinity : actions.lastIndexOf('configure');
    this.put({ [`${FRONT}/state`]: String(XENBUS.initialising) });
    this.configure();
    this.frontend = this.makeFrontend();
    this.makeBackend();
    this.nextActionAt = this.rng.below(80);
  }

  /** Runs to the end of all that can happen. @throws Error when there is no end */
  async run(limit = 20_000): Promise<void> {
    const total = this.actions.length;
    for (;;) {
      // All that the message before has set off.
      await new Promise((r) => setImmediate(r));
      const steps = this.possible(total);
      if (steps.length === 0) return;
      if (++this.steps > limit) throw new Error(`no end: ${this.describe()}`);
      this.choose(steps).run();
    }
  }

  /** Mostly one party runs for a while and the others stand still: few of the narrow gaps are hit by even chances. */
  private choose(steps: Step[]): Step {
    if (this.burst-- <= 0) {
      this.burst = this.rng.below([5, 20, 60, 120][this.rng.below(4)]);
      this.favourite = steps[this.rng.below(steps.length)].who;
    }
    const own = steps.filter((s) => s.who === this.favourite);
    const from = own.length > 0 && this.rng.below(30) > 0 ? own : steps;
    return from[this.rng.below(from.length)];
  }

  put(values: Record<string, string>): void {
    this.apply(Object.entries(values).map(([path, value]) => ({ op: 'write', path, value })));
  }

  apply(ops: readonly XenstoreOp[]): void {
    for (const op of ops) {
      if (op.op === 'write') this.nodes.set(op.path, op.value);
      else for (const p of [...this.nodes.keys()]) if (under(p, op.path)) this.nodes.delete(p);
    }
    for (const client of this.clients)
      for (const { path, fn } of client.watches)
        if (ops.some((op) => under(op.path, path) || under(path, op.path))) client.arriving.push(fn);
  }

  key(dir: string, name: string): string | undefined {
    return this.nodes.get(`${dir}/${name}`);
  }

  describe(): string {
    const { mapped, granted } = this;
    return JSON.stringify({ ...Object.fromEntries(this.nodes), mapped: [...mapped], granted: [...granted] });
  }

  private possible(total: number): Step[] {
    const out: Step[] = [];
    for (const c of this.clients) {
      if (c.dead) continue;
      if (c.requests.length > 0) out.push({ who: c, run: () => c.requests.shift()!() });
      if (c.arriving.length > 0) out.push({ who: c, run: () => c.arriving.shift()!() });
    }
    const done = total - this.actions.length;
    if (this.steps < this.nextActionAt && out.length > 0) return out;
    if (this.backend === null) out.push({ who: null, run: () => this.makeBackend() });
    if (this.actions.length > 0)
      out.push({ who: null, run: () => this.act(this.actions.shift()!, done < this.faultsEnd) });
    if (!this.nic) out.push({ who: null, run: () => void (this.nic = true) });
    if (!this.gate) out.push({ who: null, run: () => this.openGate() });
    return out;
  }

  private act(action: Action, mayFail: boolean): void {
    // A handshake takes some 60 steps: now at once, now in its middle, now long after it.
    this.nextActionAt = this.steps + this.rng.below([1, 10, 40, 80, 200][this.rng.below(5)]);
    // Often one end handles it all before the other moves at all.
    if (this.rng.below(2) === 0) {
      this.favourite = this.clients[this.rng.below(this.clients.length)];
      this.burst = 120;
    }
    if (action === 'configure') this.configure();
    else if (action === 'crash') this.crash();
    else if (action === 'nic-goes') this.nic = false;
    else if (action === 'gate-shuts') this.gate = false;
    else if (!mayFail) return;
    else if (action === 'backend-fault' && this.backUses !== null) this.fault(this.backend);
    else if (action === 'frontend-fault' && this.frontUses !== null) this.fault(this.frontend);
  }

  private fault(end: XenbusBackend | XenbusFrontend | null): void {
    this.faults++;
    end?.faulted('ring');
  }

  private configure(): void {
    this.factors = CONFIGURATIONS[configurationNames[this.rng.below(configurationNames.length)]];
    this.generation++;
    this.put(this.config());
  }

  private config(): Record<string, string> {
    const values = { ...factorKeys(this.factors), generation: String(this.generation) };
    return Object.fromEntries(Object.entries(values).map(([k, v]) => [`${BACK}/${k}`, v]));
  }

  /** The hypervisor lets go of all that the dead one used, and only then tells the frontend. */
  private crash(): void {
    if (this.backend === null) return;
    this.backClient!.dead = true;
    this.backend = null;
    this.backUses = null;
    this.mapped.clear();
    this.apply([{ op: 'rm', path: BACK }]);
    this.put({ ...this.config(), [`${BACK}/state`]: String(XENBUS.closed) });
  }

  private openGate(): void {
    this.gate = true;
    void this.backend?.look();
  }

  private client(): Client {
    const client = new Client(this);
    this.clients.push(client);
    return client;
  }

  /** Numbers of queues as netback wants them. */
  private static queues(f: Factors): number {
    return f.path === 'split' && f.nicQueues === 'per-guest' ? 2 : 1;
  }

  private makeBackend(): void {
    if (this.generation > 1) {
      this.apply([{ op: 'rm', path: BACK }]);
      this.put(this.config());
    }
    const client = this.client();
    const { store } = client;
    let using: number | null = null;
    const backend: XenbusBackend = new XenbusBackend({
      store,
      back: BACK,
      front: FRONT,
      features: { 'feature-rx-copy': 1 },
      firstOffer: this.offers,
      hooks: {
        mayOffer: () => client.ask(() => this.gate),
        connect: async (factors) => {
          const queues = await store.read(`${FRONT}/queues`);
          if (queues !== String(World.queues(factors))) throw new Error(`${queues} queues`);
          const ref = Number(await store.read(`${FRONT}/ref`));
          await client.ask(() => {
            if (!this.granted.has(ref)) throw new Error(`${ref} is not granted`);
            this.mapped.add(ref);
            using = ref;
          });
          await client.ask(() => {
            if (!this.nic) throw new NotNow('there is no nic');
          });
          this.backUses = factors;
        },
        disconnect: async () => {
          if (this.backend === backend) this.backUses = null;
          await client.ask(() => {
            if (using !== null) this.mapped.delete(using);
            using = null;
          });
        },
      },
      log: { warn: (what) => this.refusals.push(JSON.stringify(what)) },
      pause: () => client.ask(() => undefined),
    });
    this.offers += 1000;
    this.backend = backend;
    this.backClient = client;
    client.watch(BACK, () => void backend.look());
    client.watch(`${FRONT}/state`, () => void backend.look());
  }

  /** What the two ends complained of. */
  readonly refusals: string[] = [];

  private makeFrontend(): XenbusFrontend {
    const client = this.client();
    const { store } = client;
    let ref = 0;
    const frontend = new XenbusFrontend({
      store,
      back: BACK,
      front: FRONT,
      hooks: {
        open: async (_, factors) => {
          ref = await client.ask(() => {
            this.granted.add(this.nextRef);
            return this.nextRef++;
          });
          const refused = await client.ask(() => {
            if (factors.path !== 'direct') return null;
            if (this.factors.path !== 'direct') return new Error('the path is not direct');
            return this.nic ? null : new NotNow('there is no nic');
          });
          if (refused !== null) {
            this.granted.delete(ref);
            throw refused;
          }
          this.frontUses = factors;
        },
        keys: async () => {
          await store.read(FRONT);
          await store.read(FRONT);
          return [
            { op: 'rm', path: `${FRONT}/error` },
            { op: 'write', path: `${FRONT}/queues`, value: String(World.queues(this.frontUses!)) },
            { op: 'write', path: `${FRONT}/ref`, value: String(ref) },
          ];
        },
        start: () => undefined,
        stop: () => undefined,
        close: async () => {
          this.frontUses = null;
          await client.ask(() => {
            if (this.mapped.has(ref)) this.wrong.push(`grant ${ref} is taken back while it is mapped`);
            this.granted.delete(ref);
          });
        },
      },
      log: { warn: (what) => this.refusals.push(JSON.stringify(what)) },
      pause: () => client.ask(() => undefined),
    });
    client.watch(`${BACK}/state`, () => void frontend.look());
    return frontend;
  }
}

const under = (path: string, top: string): boolean => path === top || path.startsWith(`${top}/`);
