/** One of the probe's two threads (measure-handover.ts), pinned to its core: does one measurement after another, as it is told by
 *  messages. Everything is done as on the data path: `copyWithin` over one address space, index words through Atomics. */
import { parentPort, workerData } from 'node:worker_threads';
import { nowNs } from '@grantline/base';
import { AddressSpace } from '../mem/address-space.js';
import { DescriptorWatch, drainFd, pinToCore, pokeFd } from '../mem/libc.js';
import {
  SHARED_BYTES,
  SLOTS,
  SLOT_BYTES,
  WORDS_BYTES,
  type Told,
  type ThreadData,
  type Work,
} from './measure-handover.js';

/** As the NIC's completions come: an index is published for so many frames. */
const BATCH = 16;
const FRAME_BYTES = 1514;
const FRAME_BITS = FRAME_BYTES * 8;
/** Frames that a thread sends from, or copies to: as many as stay in the nearest cache beside the ring's. */
const OWN_FRAMES = 4;

// Words of the shared memory, as byte offsets: each on cache lines of its own.
const PRODUCED = 0;
const CONSUMED = 256;
const PING = 512;
const PONG = 768;
/** How often the sleeper was woken, and when the doorbell was rung last. */
const WOKEN = 1024;
const RUNG = 1280;
/** Of CONSUMED: no more frames are wanted. Above each count. */
const ENOUGH = 0x7fffffff;

/** A measurement is cut into slices, each too short for somebody else's turn on the core to spoil all of them. */
const SLICE_NS = 2e6;
const SLICES = 22;
const TRIPS = 64;
const TRIP_SLICES = 60;
/** Looks at the clock are this many empty looks apart. */
const LOOKS = 1 << 10;
/** The other thread does not run. */
const PATIENCE_NS = 300e6;
const RINGS = 15;
/** So long the sleeper sleeps at least before it is woken. */
const SLEEP_MS = 1;

const { core, memory, bell } = workerData as ThreadData;
const pinned = core === null || pinToCore(core);
const space = new AddressSpace(1 << 20);
const { u8, i32, f64 } = space.mem;
const shared = space.reserve(SHARED_BYTES);
space.mapFd(shared, memory, 0, SHARED_BYTES, true);
const own = space.mapPrivate(OWN_FRAMES * SLOT_BYTES);
const frames = shared + WORDS_BYTES;
const [produced, consumed, ping, pong, woken] = [PRODUCED, CONSUMED, PING, PONG, WOKEN].map((at) => (shared + at) >> 2);
const rungAt = (shared + RUNG) >> 3;

const slotOf = (n: number): number => frames + (n % SLOTS) * SLOT_BYTES;
const ownOf = (n: number): number => own + (n % OWN_FRAMES) * SLOT_BYTES;

function copyIn(first: number): void {
  for (let n = first; n < first + BATCH; n++) u8.copyWithin(slotOf(n), ownOf(n), ownOf(n) + FRAME_BYTES);
}

function copyOut(first: number): void {
  for (let n = first; n < first + BATCH; n++) u8.copyWithin(ownOf(n), slotOf(n), slotOf(n) + FRAME_BYTES);
}

/** Gb/s of each slice: frames copied into the ring and out again, by this core. */
function alone(): number[] {
  const rates: number[] = [];
  for (let s = 0; s < SLICES; s++) {
    const start = nowNs();
    let now = start;
    let n = 0;
    for (; now - start < SLICE_NS; now = nowNs()) {
      for (const end = n + SLOTS; n < end; n += BATCH) {
        copyIn(n);
        copyOut(n);
      }
    }
    rates.push((n * FRAME_BITS) / (now - start));
  }
  return rates;
}

/** Waits until a word of the other thread's is `value` or further. @returns false: not in time */
function reached(at: number, value: number): boolean {
  let end = 0;
  for (let looks = 1; Atomics.load(i32, at) < value; looks++) {
    if (looks % LOOKS !== 0) continue;
    const now = nowNs();
    if (end === 0) end = now + PATIENCE_NS;
    if (now > end) return false;
  }
  return true;
}

/** Writes frames until the other side has ENOUGH. @returns null: it takes none */
function produce(): number[] | null {
  for (let n = 0; Atomics.load(i32, consumed) !== ENOUGH; n += BATCH) {
    if (!reached(consumed, n + BATCH - SLOTS)) return null;
    copyIn(n);
    Atomics.store(i32, produced, n + BATCH);
  }
  return [];
}

/** Gb/s of each slice: frames of the other core's, copied to memory of this one's. @returns null: none come */
function consume(): number[] | null {
  const rates: number[] = [];
  let n = 0;
  for (let s = 0; s < SLICES; s++) {
    const start = nowNs();
    const first = n;
    let now = start;
    for (; now - start < SLICE_NS; now = nowNs()) {
      if (!reached(produced, n + BATCH)) return null;
      copyOut(n);
      n += BATCH;
      Atomics.store(i32, consumed, n);
    }
    rates.push(((n - first) * FRAME_BITS) / (now - start));
  }
  Atomics.store(i32, consumed, ENOUGH);
  return rates;
}

/** ns for a word to the other core and back, of each slice. @returns null: no answer */
function call(): number[] | null {
  const times: number[] = [];
  let n = 0;
  for (let s = 0; s < TRIP_SLICES; s++) {
    const start = nowNs();
    for (let i = 0; i < TRIPS; i++) {
      Atomics.store(i32, ping, ++n);
      if (!reached(pong, n)) return null;
    }
    times.push((nowNs() - start) / TRIPS);
  }
  return times;
}

function answer(): number[] | null {
  for (let n = 1; n <= TRIPS * TRIP_SLICES; n++) {
    if (!reached(ping, n)) return null;
    Atomics.store(i32, pong, n);
  }
  return [];
}

/** us from each ring of the doorbell until this thread's event loop, which sleeps meanwhile, calls back. */
function sleep(): Promise<number[]> {
  return new Promise((resolve) => {
    const times: number[] = [];
    const watch = new DescriptorWatch(bell.reads, () => {
      times.push((nowNs() - f64[rungAt]) / 1000);
      drainFd(bell.reads);
      Atomics.store(i32, woken, times.length);
      if (times.length === RINGS) end();
    });
    const timer = setTimeout(() => end(), PATIENCE_NS / 1e6);
    const end = (): void => {
      clearTimeout(timer);
      watch.close();
      resolve(times);
    };
  });
}

/** Rings once the last ring was heard. */
function ring(): Promise<number[]> {
  return new Promise((resolve) => {
    let rung = 0;
    const until = nowNs() + PATIENCE_NS;
    const timer = setInterval(() => {
      const heard = Atomics.load(i32, woken);
      if (heard === RINGS || nowNs() > until) {
        clearInterval(timer);
        resolve([]);
      } else if (heard === rung) {
        rung++;
        f64[rungAt] = nowNs();
        pokeFd(bell.writes);
      }
    }, SLEEP_MS);
  });
}

const WORK = { alone, produce, consume, call, answer, sleep, ring } satisfies Record<
  Work,
  () => Told | Promise<number[]>
>;

const tell = (told: Told): void => parentPort?.postMessage(told);
parentPort?.on('message', (work: Work) => void Promise.resolve(WORK[work]()).then(tell));
tell(pinned ? [] : null);
