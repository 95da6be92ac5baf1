/** The live page of a testbed, from the first byte to the last: listens before the testbed starts, so that a port in use is
 *  said at once; is attached to the testbed when that is ready; and ends with the command. docs/adr/0014. */
import { randomUUID } from 'node:crypto';
import { configurationNames, MAX_GUESTS } from '@grantline/base';
import type { BedState, ControlState, Facts, ToBrowser } from '../../page/messages.js';
import { ETH_MAX_FRAME, ETH_MIN_FRAME, IMIX_BYTES, LINK_GBPS, WIRE_OVERHEAD_BYTES } from '@grantline/frames';
import { UserError } from '../base/errors.js';
import { COMPONENT_LABELS, COMPONENT_ORDER } from '../report/palette.js';
import { PAPER } from '../report/paper.js';
import type { Client } from '../control/client.js';
import { meanFrameBytes } from '../base/stats.js';
import { Experiment } from '../prometheus/experiment.js';
import { observers, type Observer } from '../runner/observer.js';
import type { RunRecord } from '../runner/record.js';
import { runLockHolder } from '../testbed/run-lock.js';
import { Board, observerKey } from './board.js';
import { Browsers } from './browsers.js';
import { PageCaptures } from './page-captures.js';
import { Controls, type GuestKeeper } from './controls.js';
import { startServer, type LiveServer } from './server.js';
import { SAMPLE_MS, Watch } from './watch.js';

/** Tried first when the user names no port; a free one is taken when it is in use. */
export const DEFAULT_PORT = 7680;

export interface LivePageOptions {
  /** As --page says; null: 127.0.0.1 and DEFAULT_PORT or a free port. */
  listen: { host: string; port: number } | null;
  /** What it is called beside its address: NAME or NAME:PORT (gate.ts). */
  names?: readonly string[];
  mode: Facts['mode'];
  /** The testbed's directory. */
  dir: string;
}

/** The running testbed. */
export interface Attached {
  client: Client;
  /** The operator's token. */
  token: string;
  /** null: guests stay as they are, and all controls are off. */
  keeper: GuestKeeper | null;
}

const STARTING: ControlState = {
  ...{ blocked: 'The testbed is starting.', config: '', guests: 0, frameBytes: 1514, linkGbps: null },
  ...{ loading: false, busy: null },
};

export class LivePage {
  /** Hears of experiments that run in this process. */
  readonly observer: Observer;
  private readonly facts: Facts;
  private readonly board: Board;
  private readonly experiment = new Experiment();
  private readonly browsers: Browsers;
  private server: LiveServer | null = null;
  private attached: Attached | null = null;
  private watch: Watch | null = null;
  private controls: Controls | null = null;
  private captures: PageCaptures | null = null;
  private lastState = '';
  private closed = false;

  /** Listens. @throws UserError when the address cannot be had */
  static async open(options: LivePageOptions): Promise<LivePage> {
    const page = new LivePage(options);
    page.server = await page.listen(options);
    return page;
  }

  private constructor(options: LivePageOptions) {
    this.board = new Board(options.mode === 'up');
    this.observer = observers(this.board, this.experiment);
    this.board.onChange = () => {
      // Vifs change with the configuration; while it measures the hypervisor is left alone.
      if (this.board.phaseName === 'warmup' && this.browsers.size > 0) void this.watch?.look();
      this.tellState();
    };
    this.facts = {
      instance: randomUUID(),
      mode: options.mode,
      dir: options.dir,
      configs: [...configurationNames],
      links: [...LINK_GBPS],
      frames: { min: ETH_MIN_FRAME, max: ETH_MAX_FRAME, imixMean: meanFrameBytes([...IMIX_BYTES]) },
      maxGuests: MAX_GUESTS,
      paper: { baselineGbps: PAPER.baselineGbps, optimisedGbps: PAPER.optimisedGbps },
      sampleMs: SAMPLE_MS,
      wireOverheadBytes: WIRE_OVERHEAD_BYTES,
      components: COMPONENT_ORDER.map((key) => ({ key, label: COMPONENT_LABELS[key] })),
    };
    this.browsers = new Browsers({
      hello: () => this.hello(),
      state: () => ({ type: 'state', state: this.state() }),
      request: (request) => {
        const { controls, captures } = this;
        if (controls === null || captures === null) return Promise.reject(new Error(STARTING.blocked ?? ''));
        if (request.op === 'capture' || request.op === 'capture-stop') return captures.handle(request);
        return controls.handle(request);
      },
      count: (n) => {
        if (this.watch) this.watch.on = n > 0 && !this.closed;
      },
    });
  }

  /** http://host:port/ */
  get url(): string {
    return this.server?.url ?? '';
  }

  /** The testbed is ready. */
  attach(attached: Attached): void {
    const { client, keeper } = attached;
    const { dir } = this.facts;
    this.attached = attached;
    this.watch = new Watch(
      client,
      dir,
      this.board,
      (sample) => {
        this.board.add(sample);
        this.browsers.broadcast({ type: 'sample', sample });
      },
      this.tellState,
    );
    this.captures = new PageCaptures(client, () => this.watch?.seen ?? null, this.tellState);
    this.controls = new Controls({
      ...{ client, dir, keeper },
      seen: () => this.watch?.seen ?? null,
      look: () => this.watch?.look() ?? Promise.resolve(),
      onChange: this.tellState,
    });
    this.watch.on = this.browsers.size > 0;
  }

  /** Tells the browsers why it ends, and ends. Waits for none of them. */
  async close(reason: string): Promise<void> {
    if (this.closed) return;
    this.closed = true;
    if (this.watch) this.watch.on = false;
    this.captures?.close();
    this.browsers.end(reason);
    await this.server?.close();
  }

  private async listen({ listen: wanted, names = [] }: LivePageOptions): Promise<LiveServer> {
    const at = wanted ?? { host: '127.0.0.1', port: DEFAULT_PORT };
    try {
      return await this.serve(at, names);
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code;
      if (wanted === null && code === 'EADDRINUSE') return this.serve({ ...at, port: 0 }, names);
      if (code === 'EADDRINUSE')
        throw new UserError(
          `port ${at.port} on ${at.host} is in use`,
          'stop what uses it, choose another with --page HOST:PORT, or do without: --no-page',
        );
      if (code === undefined) throw error;
      throw new UserError(
        `cannot serve the live page on ${at.host}:${at.port} (${code})`,
        'choose another address with --page HOST:PORT, or do without: --no-page',
      );
    }
  }

  private serve(at: { host: string; port: number }, names: readonly string[]): Promise<LiveServer> {
    return startServer(at, names, {
      connected: (socket) => this.browsers.add(socket),
      phase: (body) => this.observer.phase(body),
      finished: async ({ run, record }) => {
        const told = record as unknown as RunRecord;
        await this.experiment.finished(run, told);
        await this.board.finished(run, told);
      },
      answered: ({ run, ...requests }) => this.experiment.answered(run, requests),
      experiment: this.experiment,
      look: () => {
        // Where experimenters are other processes, one that was killed says no more.
        if (this.facts.mode !== 'up' || runLockHolder(this.facts.dir) !== null) return;
        this.board.released();
        this.experiment.released();
      },
      key: () => (this.attached ? observerKey(this.attached.token) : ''),
      capture: (id) => this.captures?.download(id) ?? null,
    });
  }

  private hello(): ToBrowser {
    const { history, last } = this.board;
    return { type: 'hello', facts: this.facts, state: this.state(), history, last };
  }

  private readonly tellState = (): void => {
    const state = this.state();
    const text = JSON.stringify(state);
    if (text === this.lastState) return;
    this.lastState = text;
    this.browsers.broadcast({ type: 'state', state });
  };

  private state(): BedState {
    const seen = this.watch?.seen ?? null;
    return {
      ready: this.attached !== null,
      experiment: this.board.experiment,
      finished: [...this.board.summaries],
      domains: (seen?.testbed.domains ?? []).map(({ domid, name, kind, state }) => ({ domid, name, kind, state })),
      vifs: (seen?.config.vifs ?? []).map(({ vif, backend, frontend, error }) => ({
        ...{ vif, backend, frontend, error, domid: Number(/^vif(\d+)\./.exec(vif)?.[1] ?? 0) },
      })),
      config: this.controls?.state().config ?? '',
      settled: seen?.config.settled ?? false,
      controls: this.controls?.state() ?? STARTING,
      capture: this.captures?.state() ?? null,
    };
  }
}
