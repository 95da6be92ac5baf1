/** Looks at a running testbed for the live page: at the counters in shared memory twice a second, which costs the services
 *  nothing, and at what only the hypervisor and the NIC can tell once a second; less often while it is being measured, since
 *  looking takes time of cores that are busy. Only while a browser is connected. */
import { configurationName, configurationNamed } from '@grantline/base';
import type { Sample } from '../../page/messages.js';
import { type Client, type ConfigStatus, type TestbedInfo, serviceName } from '../control/client.js';
import { loadStatus } from '../control/nic-load.js';
import type { Snapshot } from '../control/snapshot.js';
import { CounterFiles, type CounterOwner } from '../testbed/counter-files.js';
import { runLockHolder } from '../testbed/run-lock.js';
import type { Board } from './board.js';
import { growth, sampleOf } from './rates.js';
import { unannounced } from './ways.js';

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
    const direction = running === null ? unannounced(grown.grown) : (experiment?.direction ?? 'rx');
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
