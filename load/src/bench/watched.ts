/** What it costs to be watched: `optimised` with nobody looking and with each watcher, in turn, on the same testbed. */
import { setTimeout as sleep } from 'node:timers/promises';
import { RunError } from '../base/errors.js';
import type { Progress } from '../base/progress.js';
import { abbaOrder } from '../runner/compare.js';
import type { Observer } from '../runner/observer.js';
import type { Bed } from '../runner/bed.js';
import { inGuests, rate } from '../control/snapshot.js';
import { honesty, one, plan, type Scenario } from './scenario.js';
import { median, type Check } from './targets.js';
import { WATCHERS, type Watcher, type Watching } from './watchers.js';

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
