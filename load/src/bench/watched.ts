/** What it costs to be watched: `optimised` with nobody looking and with each watcher, in turn, on the same testbed. */
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { WebSocket } from 'ws';
import { RunError } from '../base/errors.js';
import { LivePage } from '../live/live-page.js';
import { callBytes } from '../base/http.js';
import type { Bed } from '../runner/bed.js';
import type { Progress } from '../base/progress.js';
import { abbaOrder } from '../runner/compare.js';
import type { Observer } from '../runner/observer.js';
import { inGuests, rate } from '../control/snapshot.js';
import { honesty, one, plan, type Scenario } from './scenario.js';
import { median, type Check } from './checks.js';

/** Looking at a testbed, under way. */
interface Watching {
  /** Ends it. @returns how often it has looked, all services together. @throws what went wrong meanwhile */
  stop(): Promise<number>;
}

/** Who looks at a testbed while it runs. */
export interface Watcher {
  /** As it stands in the table. */
  name: string;
  /** What is there all the time, looked at or not. @returns its end */
  prepare?(bed: Bed): Promise<() => Promise<void>>;
  start(bed: Bed): Promise<Watching> | Watching;
  /** Looks per second that it must have made at least, or its figure says nothing. */
  leastPerSecond(bed: Bed): number;
}

const SCRAPE_MS = 1000;

/** Prometheus, as it is set up here: the metrics of all services each second. */
const metrics: Watcher = {
  name: 'metrics',
  leastPerSecond: (bed) => bed.services.length * 0.5,
  start(bed) {
    let ended = false;
    let looks = 0;
    const one = async (name: string, http: string): Promise<void> => {
      const page = await callBytes(name, http, '/metrics');
      if (!page.includes('# TYPE grantline_build_info gauge')) throw new RunError(`${name} shows no metrics`);
      looks++;
    };
    const end = new AbortController();
    const work = (async () => {
      while (!ended) {
        const due = performance.now() + SCRAPE_MS;
        await Promise.all(bed.services.map((s) => one(s.name, s.http)));
        await sleep(Math.max(0, due - performance.now()), undefined, { signal: end.signal }).catch(() => {});
      }
    })();
    work.catch(() => {});
    return {
      async stop() {
        ended = true;
        end.abort();
        await work;
        return looks;
      },
    };
  },
};

/** The live page with one browser's connection, as `npm start` has it: in this process. What the browser itself takes to draw
 *  is not in it. */
class PageWatcher implements Watcher {
  readonly name = 'live page';
  private url = '';

  async prepare(bed: Bed): Promise<() => Promise<void>> {
    const { dir } = await bed.client.testbed();
    const live = await LivePage.open({ listen: { host: '127.0.0.1', port: 0 }, mode: 'compare', dir });
    live.attach({ client: bed.client, token: '', keeper: null });
    // As in a comparison: while it measures the page leaves the hypervisor alone but for every five seconds.
    await live.observer.phase({
      ...{ run: 'bench', config: 'optimised', direction: 'rx', round: 0, phase: 'measure' },
      ...{ frameBytes: 1514, guests: 1, linkGbps: null },
    });
    this.url = live.url;
    return () => live.close('the benchmark has ended');
  }

  async start(): Promise<Watching> {
    const socket = new WebSocket(new URL('/live', this.url.replace('http', 'ws')), {
      origin: new URL(this.url).origin,
    });
    let looks = 0;
    socket.on('message', (data: Buffer) => {
      if (data.includes('"sample"')) looks++;
    });
    await once(socket, 'open');
    return {
      stop() {
        socket.terminate();
        return Promise.resolve(looks);
      },
    };
  }

  leastPerSecond(): number {
    return 0.5;
  }
}

/** All that there are. Each must be able to run beside the others. */
export const WATCHERS: readonly Watcher[] = [metrics, new PageWatcher()];

/** Per cent of the unwatched throughput that a watched testbed has to keep. */
const KEEP = 97;
/** A window: watchers start and settle, then it counts. */
const SETTLE_MS = 400;
const WINDOW_MS = 1500;
/** What starting, stopping and two snapshots take at the most. */
const SLACK_MS = 100;
const ROUNDS_PER_RUN = 3;

interface Variant {
  name: string;
  watchers: readonly Watcher[];
}

/** Nobody; each alone; all together where there are several. */
export function variantsOf(watchers: readonly Watcher[]): Variant[] {
  const alone = watchers.map((w): Variant => ({ name: w.name, watchers: [w] }));
  const all: Variant = { name: watchers.map((w) => w.name).join(' and '), watchers };
  return [{ name: 'nobody', watchers: [] }, ...alone, ...(watchers.length > 1 ? [all] : [])];
}

/** Median of the ratios of neighbours: the machine may get faster or slower for some seconds, which both then share. */
export function keptCheck(name: string, unwatched: readonly number[], watched: readonly number[]): Check {
  const pairs = watched.map((x, i) => (x / (unwatched[i] ?? NaN)) * 100);
  return {
    name: `optimised, watched by ${name}: share of unwatched`,
    unit: '%',
    value: median(pairs),
    min: Math.min(...pairs),
    max: Math.max(...pairs),
    wanted: { atLeast: KEEP },
  };
}

/** What was delivered while the watchers look, Gb/s; and how often they looked. */
async function look(
  bed: Bed,
  watchers: readonly Watcher[],
): Promise<{ gbps: number; looks: number[]; seconds: number }> {
  const started = performance.now();
  const watching: Watching[] = [];
  try {
    for (const w of watchers) watching.push(await w.start(bed));
    await sleep(SETTLE_MS);
    const guests = bed.services.filter((s) => s.kind === 'guest');
    const a = await bed.client.snapshot(guests);
    await sleep(WINDOW_MS);
    const b = await bed.client.snapshot(guests);
    const seconds = (performance.now() - started) / 1000;
    const looks: number[] = [];
    for (const at of watching.splice(0)) looks.push(await at.stop());
    return { gbps: (rate(a, b, 'app', 'bytes', inGuests) * 8) / 1e9, looks, seconds };
  } finally {
    for (const at of watching) await at.stop().catch(() => 0);
  }
}

/** Windows of all variants in turn, under one load that never stops: what differs by 3 % drowns in what two runs differ by
 *  on a shared machine, but not in what two neighbouring seconds do. @throws RunError when a watcher looked too seldom */
async function windows(
  bed: Bed,
  variants: readonly Variant[],
  rounds: number,
  progress: Progress,
): Promise<number[][]> {
  const rates = variants.map((): number[] => []);
  const seen = new Map<Watcher, { looks: number; seconds: number }>();
  for (const [round, order] of abbaOrder(variants.length, rounds).entries()) {
    for (const i of order) {
      const { watchers } = variants[i];
      const { gbps, looks, seconds } = await look(bed, watchers);
      rates[i].push(gbps);
      for (const [k, w] of watchers.entries()) {
        const sum = seen.get(w) ?? { looks: 0, seconds: 0 };
        seen.set(w, { looks: sum.looks + looks[k], seconds: sum.seconds + seconds });
      }
    }
    const line = variants.map(({ name }, i) => `${name} ${rates[i][round].toFixed(1)}`).join(', ');
    progress.line(`  watched by: ${line} Gb/s`);
  }
  for (const [w, { looks, seconds }] of seen)
    if (looks < w.leastPerSecond(bed) * seconds)
      throw new RunError(`${w.name} looked ${looks} times in ${seconds.toFixed(1)} s: too seldom to count`);
  return rates;
}

export const watched: Scenario = {
  name: 'watched',
  guests: 1,
  async run(bed, s, progress) {
    const variants = variantsOf(WATCHERS);
    const rounds = s.runs * ROUNDS_PER_RUN;
    const seconds = Math.ceil((rounds * variants.length * (SETTLE_MS + WINDOW_MS + SLACK_MS)) / 1000);
    let begun = (): void => {};
    const measuring = new Promise<void>((resolve) => {
      begun = resolve;
    });
    const observer: Observer = {
      phase: async (at) => {
        if (at.phase === 'measure') begun();
        await bed.observer.phase(at);
      },
      finished: (run, record) => bed.observer.finished(run, record),
    };
    const load = one({ ...bed, observer }, 'optimised', 0, plan({ seconds }), progress);
    // A load that fails ends the wait; its error is the one to tell.
    await Promise.race([measuring, load]);
    const ends: (() => Promise<void>)[] = [];
    let rates: number[][];
    try {
      for (const w of WATCHERS) if (w.prepare) ends.push(await w.prepare(bed));
      rates = await windows(bed, variants, rounds, progress);
    } finally {
      for (const end of ends) await end();
    }
    const record = await load;
    const [unwatched = [], ...others] = rates;
    return {
      checks: [...others.map((x, i) => keptCheck(variants[i + 1].name, unwatched, x)), ...honesty([record])],
      records: [record],
    };
  },
};
