/** Measures one configuration after another on a testbed that stays, for ever: so that there is always something to see.
 *  Guests may come and go between runs, and services may be started again: the cycle waits and goes on. */
import { counted } from '../base/format.js';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Configuration } from '@grantline/base';
import { silent } from '../base/progress.js';
import type { Client, BedSession } from '../control/client.js';
import type { Observer } from './observer.js';
import { openBed, type Bed } from './bed.js';
import { runOnce } from './run.js';
import type { RunPlan } from './record.js';

export interface CycleOptions {
  /** Called at each look at the testbed: its token may be new. */
  client: () => Client;
  configs: readonly Configuration[];
  /** How many guests take part; null: all that there are. */
  guests: number | null;
  plan: Omit<RunPlan, 'name'>;
  /** Hears of phases and figures. */
  observer: Observer;
  say: (line: string) => void;
  /** Milliseconds between two looks at a testbed that is not complete. */
  lookMs?: number;
}

const LOOK_MS = 1000;
/** A run that was told to stop is waited for so long: a service may not answer. */
const STOP_LIMIT_MS = 2000;

export class Cycle {
  private readonly o: CycleOptions;
  private bed: Bed | null = null;
  /** On the testbed as it is now; a hypervisor that starts again knows of none. */
  private held: BedSession | null = null;
  private round = 0;
  private name = '';
  private members = '';
  private waitingFor = '';
  private stopped = false;
  private readonly abort = new AbortController();
  private underWay: Promise<unknown> = Promise.resolve();

  constructor(options: CycleOptions) {
    this.o = options;
  }

  /** Until it is stopped: whatever goes wrong is the testbed's trouble, and may pass. */
  async run(): Promise<void> {
    for (let i = 0; !this.stopped; i++) {
      await this.step(i % this.o.configs.length);
      if (i % this.o.configs.length === this.o.configs.length - 1) this.round++;
    }
  }

  /** One configuration: tried until it has been measured. */
  async step(index: number): Promise<void> {
    const config = this.o.configs[index];
    while (!this.stopped) {
      try {
        const bed = await this.look();
        const during = this.members;
        const plan = { ...this.o.plan, name: this.name, signal: this.abort.signal };
        const running = runOnce(bed, config, this.round, plan, silent);
        this.underWay = running.catch(() => {});
        const record = await running;
        await this.look();
        if (this.members !== during) throw new Error('services came or went during the run');
        this.o.say(
          `${config.name}: ${record.delivered.gbps.toFixed(2)} Gb/s to ${counted(bed.guests.length, 'guest')}, lost ${record.lost}`,
        );
        return;
      } catch (error) {
        this.o.observer.released?.();
        if (this.stopped) return;
        this.bed = null;
        this.o.say(`${config.name}: ${oneLine(error)}; starting over`);
        await sleep(this.o.lookMs ?? LOOK_MS);
      }
    }
  }

  /** Leaves the testbed as it was found: a run under way starts no load any more, and one that it is just starting is ended.
   *  @param limitMs that putting back may take */
  async stop(limitMs = STOP_LIMIT_MS): Promise<void> {
    this.stopped = true;
    this.abort.abort();
    await Promise.race([this.underWay, sleep(STOP_LIMIT_MS, null, { ref: false })]);
    await Promise.race([this.held?.end(), sleep(limitMs, null, { ref: false })]);
  }

  /** The testbed as it is now, once it is complete. */
  private async look(): Promise<Bed> {
    for (;;) {
      if (this.stopped) throw new Error('stopped');
      const missing = await this.refresh();
      if (missing === null && this.bed !== null) return this.bed;
      // Once for each thing that is waited for: it may take long.
      if (missing !== null && missing !== this.waitingFor) this.o.say(`waiting for ${missing}`);
      this.waitingFor = missing ?? '';
      await sleep(this.o.lookMs ?? LOOK_MS);
    }
  }

  /** @returns what is missing, or null: then `bed` is the testbed */
  private async refresh(): Promise<string | null> {
    let client: Client;
    try {
      client = this.o.client();
      const { domains } = await client.testbed();
      const up = domains.filter((d) => d.state === 'running' && d.http !== null);
      for (const kind of ['driver-domain', 'nic'] as const) if (!up.some((d) => d.kind === kind)) return `the ${kind}`;
      const guests = up.filter((d) => d.kind === 'guest').map((d) => d.domid);
      const wanted = this.o.guests ?? Math.max(1, guests.length);
      if (guests.length < wanted) return wanted === 1 ? 'a guest' : `${wanted} guests (there are ${guests.length})`;
      const members = up.map((d) => `${d.domid} ${d.http}`).join(',');
      if (this.bed !== null && members === this.members) return null;
      // Other guests, another comparison: figures of the one say nothing about the other.
      if (members !== this.members)
        this.name = `cycle-${new Date().toISOString().slice(0, 19).replaceAll(/[-:]/g, '')}`;
      this.members = members;
      if (this.held === null || this.held.lost) {
        this.held = null;
        this.held = await client.hold();
      }
      this.bed = await openBed(client, wanted, this.o.observer);
      return null;
    } catch (error) {
      this.bed = null;
      return `the testbed (${oneLine(error)})`;
    }
  }
}

function oneLine(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).replaceAll(/\s*\n\s*/g, ' ');
}
