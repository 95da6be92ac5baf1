/** Looks at a running testbed for the live page: at the counters in shared memory twice a second, which costs the services
 *  nothing, and at what only the hypervisor and the NIC can tell once a second; less often while it is being measured, since
 *  looking takes time of cores that are busy. Only while a browser is connected. */
import { closeSync } from 'node:fs';
import { join } from 'node:path';
import { nowNs, configurationName, configurationNamed } from '@grantline/base';
import { CounterReader, readerOf } from '@grantline/observe';
import { fetchDescriptor } from '@grantline/machine';
import { SHARED_SOCKET } from '@grantline/xen';
import { serviceName, type Client, type ConfigStatus, type TestbedInfo } from '../control/client.js';
import type { ServiceName, ServiceSnapshot, Snapshot } from '../control/snapshot.js';
import type { Sample } from '../../page/messages.js';
import { loadStatus } from '../control/load-api.js';
import { runLockHolder } from '../testbed/run-lock.js';
import type { Board } from './board.js';
import { growth, sampleOf, unannounced } from './rates.js';

/** Which domain's counters. */
interface CounterOwner {
  name: ServiceName;
  kind: ServiceSnapshot['kind'];
  domid: number;
  /** Its process: a successor of that number has counters of its own. */
  pid: number | null;
}

interface Open {
  readonly pid: number | null;
  /** null: on its way. */
  file: { fd: number; reader: CounterReader } | null;
  /** Fulfilled when it is there, or refused. */
  opened: Promise<void>;
}

/** The services' counters, read from the memory that they are counted in, without asking the services: it costs them
 *  nothing. The hypervisor hands out descriptors of it to the operator; docs/wire/control-plane.md sections 2 and 4. */
class CounterFiles {
  private readonly client: Pick<Client, 'counterTicket'>;
  private readonly socket: string;
  private readonly open = new Map<number, Open>();

  constructor(client: Pick<Client, 'counterTicket'>, dir: string) {
    this.client = client;
    this.socket = join(dir, SHARED_SOCKET);
  }

  /** Asks for what is not open yet. Fulfilled when it is, or is refused. */
  async openAll(owners: readonly CounterOwner[]): Promise<void> {
    for (const { domid, pid } of owners) this.readerFor(domid, pid);
    await Promise.all([...this.open.values()].map((o) => o.opened));
  }

  /** Counters of all that can be read; a domain that is being born or has just died is left out. What only the process
   *  itself can tell (its CPU time, its memory) is 0. */
  read(owners: readonly CounterOwner[]): ServiceSnapshot[] {
    for (const domid of this.open.keys()) if (!owners.some((o) => o.domid === domid)) this.close(domid);
    const out: ServiceSnapshot[] = [];
    for (const { name, kind, domid, pid } of owners) {
      const reader = this.readerFor(domid, pid);
      if (reader === null) continue;
      try {
        const blocks = reader.read();
        out.push({ name, kind, domid, atNs: nowNs(), processCpuNs: 0, dataThreadCpuNs: 0, rssBytes: 0, blocks });
      } catch {
        // Looked at again in half a second.
      }
    }
    return out;
  }

  /** Nobody looks any more. */
  closeAll(): void {
    for (const domid of [...this.open.keys()]) this.close(domid);
  }

  /** @returns null while it is on its way: there will be one at the next look */
  private readerFor(domid: number, pid: number | null): CounterReader | null {
    const known = this.open.get(domid);
    if (known !== undefined && known.pid === pid) return known.file?.reader ?? null;
    if (known !== undefined) this.close(domid);
    if (pid === null) return null;
    const open: Open = { pid, file: null, opened: Promise.resolve() };
    this.open.set(domid, open);
    open.opened = this.client
      .counterTicket(domid)
      .then(({ ticket }) => fetchDescriptor(this.socket, ticket))
      .then(
        (fd) => {
          if (this.open.get(domid) === open) open.file = { fd, reader: new CounterReader(readerOf(fd)) };
          else closeSync(fd);
        },
        () => {
          if (this.open.get(domid) === open) this.open.delete(domid);
        },
      );
    return null;
  }

  private close(domid: number): void {
    const fd = this.open.get(domid)?.file?.fd ?? null;
    this.open.delete(domid);
    if (fd !== null) closeSync(fd);
  }
}

/** Time between two looks at the counters. */
export const SAMPLE_MS = 500;
/** The same while figures are being measured. */
const MEASURE_SAMPLE_MS = 1000;
const LOOK_MS = 1000;
/** While figures are being measured the hypervisor is asked seldom: nothing changes then. */
const MEASURE_LOOK_MS = 5000;

/** What the hypervisor and the NIC told last. */
export interface Seen {
  testbed: TestbedInfo;
  config: ConfigStatus;
  /** The NIC is sending; not asked for during a comparison. */
  sending: boolean;
  /** Process that measures on this testbed, if another one does. */
  measuring: number | null;
}

export class Watch {
  seen: Seen | null = null;
  private readonly client: Pick<Client, 'testbed' | 'config' | 'services'>;
  private readonly dir: string;
  private readonly board: Board;
  private readonly onSample: (sample: Sample) => void;
  private readonly onSeen: () => void;
  private timers: NodeJS.Timeout[] = [];
  private readonly counters: Pick<CounterFiles, 'openAll' | 'read' | 'closeAll'>;
  private before: Snapshot = [];
  private looking: Promise<void> | null = null;
  private lookedAt = -Infinity;
  private sampledAt = -Infinity;

  /** @param counters of the services; those of the testbed in `dir` when not given */
  constructor(
    client: Pick<Client, 'testbed' | 'config' | 'services' | 'counterTicket'>,
    dir: string,
    board: Board,
    onSample: (sample: Sample) => void,
    onSeen: () => void,
    counters?: Watch['counters'],
  ) {
    this.client = client;
    this.dir = dir;
    this.counters = counters ?? new CounterFiles(client, dir);
    this.board = board;
    this.onSample = onSample;
    this.onSeen = onSeen;
  }

  /** Begins to look, or stops. */
  set on(on: boolean) {
    if (on === this.isOn) return;
    for (const timer of this.timers) clearInterval(timer);
    this.timers = [];
    this.before = [];
    if (!on) {
      this.counters.closeAll();
      return;
    }
    void this.look();
    this.timers = [
      setInterval(() => {
        // Less than the whole time: a timer may be early after one that was late.
        const least = this.board.phaseName === 'measure' ? MEASURE_SAMPLE_MS - SAMPLE_MS / 2 : 0;
        if (performance.now() - this.sampledAt > least) this.sample();
      }, SAMPLE_MS).unref(),
      setInterval(() => {
        if (this.board.phaseName !== 'measure' || performance.now() - this.lookedAt > MEASURE_LOOK_MS) void this.look();
      }, LOOK_MS).unref(),
    ];
  }

  private get isOn(): boolean {
    return this.timers.length > 0;
  }

  /** Asks the hypervisor now. Never fails: what cannot be asked stays as it was. */
  look(): Promise<void> {
    this.looking ??= this.ask()
      .catch(() => {})
      .finally(() => {
        this.looking = null;
        this.onSeen();
      });
    return this.looking;
  }

  private async ask(): Promise<void> {
    this.lookedAt = performance.now();
    const measuring = runLockHolder(this.dir);
    const [testbed, config] = await Promise.all([this.client.testbed(), this.client.config()]);
    const others = measuring !== null && measuring !== process.pid;
    const isIdle = !others && this.board.phaseName === 'idle';
    const nic = isIdle ? (await this.client.services()).find((s) => s.kind === 'nic') : undefined;
    const sending = nic ? (await loadStatus(nic)).state === 'running' : false;
    if (!others) this.board.released();
    this.seen = { testbed, config, sending, measuring: others ? measuring : null };
    void this.begin(testbed);
  }

  /** Reads what the first sample counts from as soon as it can be read: who has just connected does not wait longer for it than for
   *  the next. */
  private async begin(testbed: TestbedInfo): Promise<void> {
    if (!this.isOn || this.before.length > 0) return;
    await this.counters.openAll(ownersIn(testbed));
    if (this.isOn && this.before.length === 0) this.sample();
  }

  private sample(): void {
    if (this.seen === null) return;
    this.sampledAt = performance.now();
    const { testbed, config } = this.seen;
    const now = this.counters.read(ownersIn(testbed));
    const before = this.before;
    this.before = now;
    if (before.length === 0) return;
    const experiment = this.board.experiment;
    const running = experiment !== null && experiment.phase !== 'idle' ? experiment.config : null;
    const factors = (running !== null && configurationNamed(running)?.factors) || config.factors;
    const grown = growth(before, now);
    const direction = running === null ? unannounced(grown.grown) : experiment!.direction;
    const sample = sampleOf(grown, now, {
      direction,
      nowMs: Date.now(),
      config: running ?? (factors ? configurationName(factors) : 'custom'),
      native: factors?.path === 'native',
      phase: this.board.phaseName,
    });
    this.onSample(sample);
  }
}

function ownersIn({ domains }: TestbedInfo): CounterOwner[] {
  const living = domains.filter((d) => d.state !== 'dead');
  return [
    { name: 'hypervisor', kind: 'hypervisor', domid: 0, pid: 0 },
    ...living.map((d) => ({ name: serviceName(d), kind: d.kind, domid: d.domid, pid: d.pid })),
  ];
}
