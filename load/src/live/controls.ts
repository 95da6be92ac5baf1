/** The live page's controls: what they may do on a running testbed, one thing at a time, and never during a comparison. */
import {
  configurationName,
  configurationNamed,
  FACTOR_VALUES,
  type Configuration,
  type Factors,
} from '@grantline/base';
import { counted, loadText } from '../base/format.js';
import type { ControlState, ToServer } from '../../page/messages.js';
import { RunError } from '../base/errors.js';
import { untilNothingLeft } from '../base/standstill.js';
import { configure, describeVifs, runningGuests, SETTLE_STAND_MS, type Client } from '../control/client.js';
import { IMIX_BYTES } from '@grantline/frames';
import { startLoad, stopLoad } from '../control/load-api.js';
import { announceRun, openBed } from '../runner/bed.js';
import { takeRunLock } from '../testbed/run-lock.js';
import type { Seen } from './watch.js';

/** Who can add guests to the testbed and take them away: its supervisor. */
export interface GuestKeeper {
  addGuest(client: Client): Promise<void>;
  removeGuest(client: Client, domid: number): Promise<void>;
}

/** As many flows to each guest as `grantline compare` takes. */
const FLOWS_PER_GUEST = 4;
const SEED = 1;

type Settings = Extract<ToServer, { op: 'apply' }>;

export type ControlRequest = Extract<ToServer, { op: 'apply' | 'start' | 'stop' }>;

export interface ControlsOptions {
  client: Client;
  dir: string;
  /** null: the testbed belongs to a comparison. */
  keeper: GuestKeeper | null;
  /** What was seen last. */
  seen: () => Seen | null;
  /** Looks again. */
  look: () => Promise<void>;
  onChange: () => void;
}

export class Controls {
  private readonly o: ControlsOptions;
  private frameBytes: number | 'imix' = 1514;
  private linkGbps: number | null = null;
  private busy: string | null = null;

  constructor(options: ControlsOptions) {
    this.o = options;
  }

  state(): ControlState {
    const seen = this.o.seen();
    const factors = seen?.config.factors;
    return {
      blocked: this.blocked(),
      config: factors ? configurationName(factors) : '',
      guests: guestsOf(seen).length,
      frameBytes: this.frameBytes,
      linkGbps: this.linkGbps,
      loading: seen?.sending ?? false,
      busy: this.busy,
    };
  }

  /** Does what a browser asked for. @returns what has been done. @throws Error whose message says what went wrong */
  async handle(request: ControlRequest): Promise<string> {
    const reason = this.blocked();
    if (reason !== null) throw new RunError(reason);
    if (this.busy !== null) throw new RunError(`Wait: ${this.busy}`);
    this.say(DOING[request.op]);
    try {
      const release = takeRunLock(this.o.dir);
      try {
        if (request.op === 'apply') return await this.apply(request);
        if (request.op === 'start') return await this.start();
        return await this.stop();
      } finally {
        release();
      }
    } finally {
      await this.o.look();
      this.say(null);
    }
  }

  private say(busy: string | null): void {
    this.busy = busy;
    this.o.onChange();
  }

  private blocked(): string | null {
    if (this.o.keeper === null) return 'A comparison is running; it chooses all of this itself.';
    const seen = this.o.seen();
    if (seen === null) return 'The testbed is starting.';
    if (seen.measuring !== null) return `A comparison is running (process ${seen.measuring}); wait until it has ended.`;
    return null;
  }

  private async apply(wanted: Settings): Promise<string> {
    const config = configurationNamed(wanted.config);
    if (!config) throw new RunError(`there is no configuration ${wanted.config}`);
    const { frameBytes, linkGbps } = wanted;
    const before = await this.now();
    const wasSending = await this.quiet();
    try {
      await this.bring({ guests: wanted.guests, config, frameBytes, linkGbps }, wasSending);
    } catch (error) {
      throw new RunError(`${reasonOf(error)}; ${await this.goBack(before, wasSending)}`);
    }
    return `${config.name}, ${counted(wanted.guests, 'guest')}, ${this.loadText()}${wasSending ? '; load goes on' : ''}.`;
  }

  private async now(): Promise<Wanted> {
    const { client } = this.o;
    const { factors } = await client.config();
    const guests = (await this.guestsNow()).length;
    const config = factors ? { name: configurationName(factors), factors } : null;
    return { guests, config, frameBytes: this.frameBytes, linkGbps: this.linkGbps };
  }

  private async bring(to: Wanted, sending: boolean): Promise<void> {
    const { client } = this.o;
    await this.changeGuests(to.guests);
    const { factors } = await client.config();
    if (to.config !== null && !(factors && sameFactors(factors, to.config.factors))) {
      this.say(`changing to ${to.config.name}`);
      await configure(client, to.config);
    } else await this.settle();
    this.frameBytes = to.frameBytes;
    this.linkGbps = to.linkGbps;
    if (sending) await this.send();
  }

  /** Half of what was asked for is nothing that anybody asked for. @returns what came of it, for who asked */
  private async goBack(before: Wanted, wasSending: boolean): Promise<string> {
    this.say('going back to what was before');
    try {
      await this.quiet();
      await this.bring(before, wasSending);
      return 'all is as it was before.';
    } catch (error) {
      const { guests, config } = await this.now().catch(() => ({ guests: null, config: null }));
      const now =
        guests === null ? 'what is there now is not known' : `now: ${config?.name ?? ''}, ${counted(guests, 'guest')}`;
      return `going back did not work either (${reasonOf(error)}); ${now}, load stopped.`;
    }
  }

  private async start(): Promise<string> {
    await this.quiet();
    await this.settle();
    await this.send();
    return `Load started: ${this.loadText()}.`;
  }

  private async stop(): Promise<string> {
    await this.quiet();
    return 'Load stopped.';
  }

  private loadText(): string {
    const frames = loadText({ frameBytes: this.frameBytes, flows: FLOWS_PER_GUEST });
    return `${frames}, ${this.linkGbps === null ? 'link unlimited' : `link ${this.linkGbps} Gb/s`}`;
  }

  /** Stops what is being sent. @returns whether something was */
  private async quiet(): Promise<boolean> {
    const nic = (await this.o.client.services()).find((s) => s.kind === 'nic');
    if (!nic) throw new RunError('the testbed has no NIC');
    const was = this.o.seen()?.sending ?? false;
    await stopLoad(nic);
    return was;
  }

  private async guestsNow(): Promise<number[]> {
    return runningGuests(await this.o.client.testbed()).map((d) => d.domid);
  }

  private async changeGuests(wanted: number): Promise<void> {
    const { client, keeper } = this.o;
    const present = await this.guestsNow();
    for (let n = present.length; n < wanted; n++) {
      this.say(`starting guest ${n + 1} of ${wanted}`);
      await keeper?.addGuest(client);
    }
    for (const domid of present.sort((a, b) => b - a).slice(0, Math.max(0, present.length - wanted))) {
      this.say(`stopping guest${domid}`);
      await keeper?.removeGuest(client, domid);
    }
  }

  /** Waits until every vif is where the configuration wants it. @throws RunError naming the vif that is not */
  private async settle(): Promise<void> {
    await untilNothingLeft(
      async () => {
        const { settled, vifs } = await this.o.client.config();
        return settled ? null : `the vifs did not connect: ${describeVifs(vifs)}`;
      },
      { standMs: SETTLE_STAND_MS },
    );
  }

  private async send(): Promise<void> {
    const { client } = this.o;
    const bed = await openBed(client, (await this.guestsNow()).length);
    const native = (await client.config()).factors?.path === 'native';
    const frameSizes = this.frameBytes === 'imix' ? [...IMIX_BYTES] : [this.frameBytes];
    const run = await announceRun(bed, native, { seed: SEED, mode: 'verify', frameSizes });
    await client.resetCounters(bed.services);
    await startLoad(bed.nic, {
      kind: 'generate',
      run,
      seed: SEED,
      guests: bed.guests.map((g) => ({ domid: g.domid, mac: g.mac ?? '', ip: g.ip ?? '' })),
      frameBytes: this.frameBytes,
      protocol: 'auto',
      flowsPerGuest: FLOWS_PER_GUEST,
      linkGbps: this.linkGbps,
      pause: true,
    });
  }
}

const DOING = { apply: 'applying the settings', start: 'starting the load', stop: 'stopping the load' } as const;

/** What an operator may choose; null: no configuration has been set. */
interface Wanted {
  guests: number;
  config: Configuration | null;
  frameBytes: number | 'imix';
  linkGbps: number | null;
}

const reasonOf = (error: unknown): string =>
  (error instanceof Error ? error.message : String(error)).replace(/\.$/, '');
const sameFactors = (a: Factors, b: Factors): boolean =>
  (Object.keys(FACTOR_VALUES) as (keyof Factors)[]).every((key) => a[key] === b[key]);

function guestsOf(seen: Seen | null): number[] {
  return seen === null ? [] : runningGuests(seen.testbed).map((d) => d.domid);
}
