/** Litmus test of ADR 0003: two processes over one mapped file, plain payload accesses around Atomics accesses on views
 *  that the language does not call shared. Each pattern has a table of allowed outcomes; anything else fails. Every other round the parent
 *  stores by `Bulk.store32`, as whoever clears a DMA entry or publishes a grant, and the child by Atomics.
 *
 *  Rounds are driven by index words: a process writes its part of round r and waits for the other's mark of round r. */
import { fork, type ChildProcess } from 'node:child_process';
import { mkdtempSync, openSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { AddressSpace } from '../../src/mem/address-space.js';
import { yieldCore } from '../../src/mem/libc.js';

const ROUNDS = 100_000;
// i32 words, each on a cache line of its own.
const INDEX = 0;
const PAYLOAD = 64;
const X = 128;
const Y = 192;
const MARK_B = 320;
const SEEN_A = 384;
const SEEN_B = 448;

interface Outcome {
  messagePassing: Record<string, number>;
  storeBuffering: Record<string, number>;
}

interface Page {
  m: Int32Array;
  /** A store that is ordered, by turns of one and of the other kind. */
  store: (word: number, value: number) => void;
}

function open(path: string): Page {
  const space = new AddressSpace(65536);
  const at = space.mapWhole(openSync(path, 'r+'), 4096, true);
  const m = space.mem.i32.subarray(at >> 2, (at >> 2) + 1024);
  const store = (word: number, value: number): void => {
    if ((value & 1) === 0) Atomics.store(m, word, value);
    else space.mem.bulk.store32(at + (word << 2), value);
  };
  return { m, store };
}

/** Nothing that spins hears a signal. */
const SPIN_LIMIT_MS = 60_000;

/** Spins until the other side got there. It may not be running: then it gets this core instead of waiting for a slice.
 *  @throws Error when it has ended, by all that one can tell */
function wait(there: () => boolean): void {
  let end = 0;
  for (let i = 1; !there(); i++) {
    if (i % 2000 !== 0) continue;
    end ||= performance.now() + SPIN_LIMIT_MS;
    if (performance.now() > end) throw new Error('the other process does not answer');
    yieldCore();
  }
}

/** Writer: payload by plain stores, then the index by an ordered one. */
function produce({ m, store }: Page): void {
  for (let r = 1; r <= ROUNDS; r++) {
    for (let i = 0; i < 8; i++) m[PAYLOAD + i] = r;
    store(INDEX, r);
    wait(() => Atomics.load(m, MARK_B) >= r);
  }
}

/** Reader: the index by Atomics.load, then the payload by plain loads. */
function consume(m: Int32Array): Record<string, number> {
  const outcomes: Record<string, number> = {};
  for (let r = 1; r <= ROUNDS; r++) {
    wait(() => Atomics.load(m, INDEX) >= r);
    let stale = 0;
    for (let i = 0; i < 8; i++) if (m[PAYLOAD + i] !== r) stale++;
    const key = stale === 0 ? 'payload complete' : 'payload stale';
    outcomes[key] = (outcomes[key] ?? 0) + 1;
    Atomics.store(m, MARK_B, r);
  }
  return outcomes;
}

/** Store buffering, the child's side: stores its word, loads the other's. Both reading the old value is forbidden: it is
 *  the lost wake-up ("I armed and saw no work" beside "I published and saw nobody armed"). */
function dekkerChild(m: Int32Array): void {
  for (let r = 1; r <= ROUNDS; r++) {
    Atomics.store(m, Y, r);
    m[SEEN_B] = Atomics.load(m, X);
    Atomics.store(m, MARK_B, r);
    // The parent judges both results of this round before either side goes on.
    wait(() => Atomics.load(m, INDEX) === -r);
  }
}

const path = process.env['GRANTLINE_LITMUS'];
if (path !== undefined) {
  const { m } = open(path);
  const sendOutcome = (o: unknown): boolean => process.send!(o);
  sendOutcome('ready');
  process.once('message', () => {
    const messagePassing = consume(m);
    sendOutcome(messagePassing);
    process.once('message', () => {
      dekkerChild(m);
      process.disconnect();
    });
  });
} else {
  const { default: t } = await import('tap');
  const dir = mkdtempSync('/dev/shm/grantline-litmus-');
  t.teardown(() => rmSync(dir, { recursive: true, force: true }));
  t.test('two processes see only the outcomes that the rings rely on', async (t) => {
    const file = join(dir, 'page');
    writeFileSync(file, '');
    truncateSync(file, 4096);
    const page = open(file);
    const { m, store } = page;
    const child: ChildProcess = fork(fileURLToPath(import.meta.url), {
      env: { ...process.env, GRANTLINE_LITMUS: file },
    });
    const next = (): Promise<unknown> => new Promise((done) => child.once('message', done));
    await next();

    child.send('produce');
    const consumed = next();
    await new Promise((done) => setTimeout(done, 20));
    produce(page);
    const messagePassing = (await consumed) as Outcome['messagePassing'];
    t.same(messagePassing, { 'payload complete': ROUNDS }, 'index seen means payload seen');

    m.fill(0);
    child.send('dekker');
    await new Promise((done) => setTimeout(done, 20));
    const storeBuffering: Outcome['storeBuffering'] = {};
    for (let r = 1; r <= ROUNDS; r++) {
      store(X, r);
      m[SEEN_A] = Atomics.load(m, Y);
      wait(() => Atomics.load(m, MARK_B) >= r);
      const key = `${m[SEEN_A] === r ? 'new' : 'old'}/${m[SEEN_B] === r ? 'new' : 'old'}`;
      storeBuffering[key] = (storeBuffering[key] ?? 0) + 1;
      Atomics.store(m, INDEX, -r);
    }
    t.comment(JSON.stringify(storeBuffering));
    const allowed = ['new/new', 'new/old', 'old/new'];
    t.same(
      Object.keys(storeBuffering).filter((k) => !allowed.includes(k)),
      [],
      'both sides never miss each other',
    );
    t.ok(Object.keys(storeBuffering).length > 0);
  });
}
