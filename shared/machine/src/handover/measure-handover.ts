/** The handover probe: what two cores can hand to each other at this moment, in a fifth of a second. Cores of a virtual machine
 *  lie near each other or far apart, and that changes while it runs; each rate of a testbed that uses both is a rate beside these
 *  figures (docs/adr/0024). */
import { closeSync } from 'node:fs';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { above } from '@grantline/base';
import { makePipe } from '../mem/libc.js';
import { makeMemory } from '../mem/memory-file.js';

export interface Handover {
  /** Those that were measured, the writer first; one: there are no two. */
  cores: number[];
  /** Gb/s of 1514-byte frames that one core copies into a ring and out again by itself. */
  aloneGbps: number;
  /** Gb/s of what the first core copies into the ring and the second out of it; null with one core. */
  handoverGbps: number | null;
  /** ns for a word to the other core and back; null with one core. */
  roundTripNs: number | null;
  /** us from a ring of a doorbell until the sleeping event loop of a Node thread on the other core calls back. */
  wakeUs: number;
}

/** The ring of the probe, in memory that both threads map: words, then frames. */
export const SLOTS = 64;
export const SLOT_BYTES = 2048;
export const WORDS_BYTES = 4096;
export const SHARED_BYTES = WORDS_BYTES + SLOTS * SLOT_BYTES;

/** What a thread is given. Descriptors stay ours. */
export interface ThreadData {
  /** That it runs on; null: any. */
  core: number | null;
  /** SHARED_BYTES of memory. */
  memory: number;
  /** A pipe, as doorbells have. */
  bell: { reads: number; writes: number };
}

/** What a thread can be asked for. Of each pair one measures and the other one helps. */
export type Work = 'alone' | 'produce' | 'consume' | 'call' | 'answer' | 'sleep' | 'ring';
/** Figures of each slice; none of who helps, and of who has just started; null: the other thread did not do its part, or this one
 *  cannot run on its core. */
export type Told = number[] | null;

/** By its path from the root of all code: whoever has this file joined to his own has the thread's beside. */
const THREAD = 'shared/machine/dist/src/handover/handover-thread.js';
/** The threads give each other up long before. */
const LIMIT_MS = 10_000;

class Thread {
  private readonly worker: Worker;

  constructor(data: ThreadData) {
    this.worker = new Worker(join(above(import.meta.url, 'services'), THREAD), { workerData: data, execArgv: [] });
  }

  /** The next that it tells. @throws Error when it ends or says nothing */
  hear(): Promise<Told> {
    const { worker } = this;
    return new Promise((resolve, reject) => {
      const finish = (act: () => void): void => {
        clearTimeout(timer);
        worker.off('message', onTold).off('error', onError).off('exit', onExit);
        act();
      };
      const onTold = (told: Told): void => finish(() => resolve(told));
      const onError = (error: Error): void => finish(() => reject(error));
      const onExit = (): void => onError(new Error('a thread of the probe has ended'));
      const timer = setTimeout(() => onError(new Error('a thread of the probe says nothing')), LIMIT_MS);
      worker.on('message', onTold).on('error', onError).on('exit', onExit);
    });
  }

  ask(work: Work): Promise<Told> {
    this.worker.postMessage(work);
    return this.hear();
  }

  async end(): Promise<void> {
    await this.worker.terminate();
  }
}

/** Measures, and leaves no thread and no descriptor behind. The caller's own thread only waits.
 *  @param cores which to measure, the first two count; with one, or none where the kernel does not tell, there is no handover
 *  @throws Error where memory, threads or those cores are not to be had */
export async function measureHandover(cores: readonly number[]): Promise<Handover> {
  const two = cores.length > 1;
  const memory = makeMemory('handover', SHARED_BYTES);
  const threads: Thread[] = [];
  try {
    const bell = makePipe();
    try {
      for (const core of [cores[0] ?? null, cores[1] ?? cores[0] ?? null])
        threads.push(new Thread({ core, memory, bell }));
      const [first, second] = threads as [Thread, Thread];
      const pinned = await Promise.all(threads.map((t) => t.hear()));
      if (pinned.includes(null)) throw new Error(`cannot run on core ${cores.slice(0, 2).join(' and ')}`);
      /** What the first of the two measures. */
      const pair = async (measures: Promise<Told>, helps: Promise<Told>): Promise<Told> =>
        (await Promise.all([measures, helps]))[0];
      const aloneGbps = figure(best(await first.ask('alone')));
      const handoverGbps = two ? best(await pair(second.ask('consume'), first.ask('produce'))) : null;
      const roundTripNs = two ? middle(await pair(first.ask('call'), second.ask('answer'))) : null;
      const wakeUs = figure(middle(await pair(second.ask('sleep'), first.ask('ring'))));
      return { cores: cores.slice(0, 2), aloneGbps, handoverGbps, roundTripNs, wakeUs };
    } finally {
      await Promise.all(threads.map((t) => t.end()));
      closeSync(bell.reads);
      closeSync(bell.writes);
    }
  } finally {
    closeSync(memory);
  }
}

/** Of rates: the engine that still compiles, and others who have the core for a turn, only ever lower one. @returns null of none */
const best = (rates: Told): number | null => (rates !== null && rates.length > 0 ? Math.max(...rates) : null);

/** @throws Error when nothing was measured: a 0 would be taken for a figure */
function figure(value: number | null): number {
  if (value === null) throw new Error('a thread of the probe measured nothing');
  return value;
}

/** The value in the middle. @returns null of none */
function middle(values: Told): number | null {
  const sorted = [...(values ?? [])].sort((a, b) => a - b);
  return sorted[sorted.length >> 1] ?? null;
}
