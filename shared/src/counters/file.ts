/** A service's counter file, shared memory as all that services share: a JSON table of contents and the blocks it names.
 *
 *    0        4         8            16              65536
 *    | magic  | version | toc bytes  | toc (JSON)    | blocks ...
 *
 *  Look at it from a shell, where FILE is a descriptor of the hypervisor's (ls -l /proc/PID/fd):
 *  tail -c +17 /proc/PID/fd/FILE | tr -d '\0' | head -c 4000 */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { nowNs } from '../clock/clock.js';
import type { AddressSpace } from '../mem/address-space.js';
import { CounterBlock } from './block.js';

const MAGIC = 0x746e6367; // "gcnt"
const VERSION = 1;
const TOC_AT = 16;
const BLOCKS_AT = 65536;
export const COUNTER_FILE_BYTES = 4 * 65536;

export interface BlockSnapshot {
  kind: string;
  labels: Record<string, string>;
  values: Record<string, number>;
}

interface TocEntry {
  kind: string;
  labels: Record<string, string>;
  names: readonly string[];
  at: number;
}

export class CounterFile {
  private readonly space: AddressSpace;
  private readonly base: number;
  private readonly toc: TocEntry[] = [];
  private readonly blocks: CounterBlock[] = [];
  private used = BLOCKS_AT;

  /** @param fd COUNTER_FILE_BYTES of zeros; closed here */
  constructor(space: AddressSpace, fd: number) {
    this.space = space;
    this.base = space.mapWhole(fd, COUNTER_FILE_BYTES, true);
    space.mem.u32[this.base >> 2] = MAGIC;
    space.mem.u32[(this.base >> 2) + 1] = VERSION;
  }

  /** The block of that kind and those labels: made when new, else the one that there is. */
  block(kind: string, labels: Record<string, string>, names: readonly string[]): CounterBlock {
    const found = this.blocks.find((b) => b.kind === kind && sameLabels(b.labels, labels));
    if (found) return found;
    const bytes = Math.ceil((8 + names.length * 8) / 64) * 64;
    if (this.used + bytes > COUNTER_FILE_BYTES) throw new RangeError('the counter file is full');
    const block = new CounterBlock(this.space.mem, this.base + this.used, kind, labels, names);
    this.blocks.push(block);
    this.toc.push({ kind, labels, names, at: this.used });
    this.used += bytes;
    this.writeToc();
    return block;
  }

  snapshot(): BlockSnapshot[] {
    return this.blocks.map((b) => ({ kind: b.kind, labels: { ...b.labels }, values: b.read() }));
  }

  /** As `snapshot`, but counted since the blocks were made: a reset does not show. */
  totals(): BlockSnapshot[] {
    return this.blocks.map((b) => ({ kind: b.kind, labels: { ...b.labels }, values: b.total() }));
  }

  /** All blocks back to zero, for a new run. */
  reset(): void {
    for (const b of this.blocks) b.reset();
  }

  private writeToc(): void {
    const text = Buffer.from(JSON.stringify(this.toc));
    if (text.length > BLOCKS_AT - TOC_AT) throw new RangeError('the table of contents of the counter file is full');
    this.space.mem.u8.set(text, this.base + TOC_AT);
    this.space.mem.u32[(this.base >> 2) + 2] = text.length;
  }
}

/** How long a block, or the table of contents, may stay half written: its writer may have lost the core meanwhile, or be
 *  dead. */
const PATIENCE_MS = 20;
const PAUSE_MS = 0.2;
const pauseWord = new Int32Array(new SharedArrayBuffer(4));

/** Calls `attempt` until it gives something. @returns null after `limitMs` */
function patiently<T>(limitMs: number, attempt: () => T | null): T | null {
  const end = nowNs() + limitMs * 1e6;
  for (;;) {
    const found = attempt();
    if (found !== null || nowNs() > end) return found;
    Atomics.wait(pauseWord, 0, 0, PAUSE_MS);
  }
}

/** Reads a counter file of another process, also of a dead one. The values of a block belong together, as with
 *  CounterBlock.read; only a process that was in the middle of a commit for all of `patienceMs` leaves a block that does not.
 *  @throws Error when it is not a counter file */
export function readCounterFile(path: string, patienceMs = PATIENCE_MS): BlockSnapshot[] {
  const fd = openSync(path, 'r');
  try {
    const head = readAt(fd, 0, TOC_AT);
    if (fstatSync(fd).size < BLOCKS_AT || head.readUInt32LE(0) !== MAGIC)
      throw new Error(`${path} is not a counter file`);
    return readToc(fd, path, patienceMs).map((entry) => readBlock(fd, entry, patienceMs));
  } finally {
    closeSync(fd);
  }
}

/** Tables of contents read before, by path: whoever looks twice a second need not parse what has not changed. */
const tocs = new Map<string, { text: string; entries: TocEntry[] }>();
const TOCS_KEPT = 64;

function readToc(fd: number, path: string, patienceMs: number): TocEntry[] {
  const toc = patiently(patienceMs, () => {
    const bytes = readAt(fd, 8, 4).readUInt32LE(0);
    if (bytes === 0) return [];
    const text = readAt(fd, TOC_AT, Math.min(bytes, BLOCKS_AT - TOC_AT)).toString('latin1');
    const known = tocs.get(path);
    if (known?.text === text) return known.entries;
    try {
      const entries = JSON.parse(Buffer.from(text, 'latin1').toString('utf8')) as TocEntry[];
      if (tocs.size >= TOCS_KEPT) tocs.clear();
      tocs.set(path, { text, entries });
      return entries;
    } catch {
      // A block is being added: text and length are not written at once.
      return null;
    }
  });
  if (toc === null) throw new Error(`the table of contents of ${path} cannot be read`);
  return toc;
}

/** The sequence word is read before and after the values, each by a call of its own so that the order is certain. */
function readBlock(fd: number, { kind, labels, names, at }: TocEntry, patienceMs: number): BlockSnapshot {
  const sequence = (): number => readAt(fd, at, 4).readUInt32LE(0);
  const read = (): Buffer => readAt(fd, at + 8, names.length * 8);
  const whole = patiently(patienceMs, () => {
    const before = sequence();
    if ((before & 1) !== 0) return null;
    const values = read();
    return sequence() === before ? values : null;
  });
  const values = whole ?? read();
  return {
    kind,
    labels: { ...labels },
    values: Object.fromEntries(names.map((name, i) => [name, values.readDoubleLE(i * 8)])),
  };
}

/** Exactly so many bytes; what lies beyond the end of the file is zero. */
function readAt(fd: number, at: number, bytes: number): Buffer {
  const out = Buffer.alloc(bytes);
  readSync(fd, out, 0, bytes, at);
  return out;
}

function sameLabels(a: Readonly<Record<string, string>>, b: Record<string, string>): boolean {
  const keys = Object.keys(a);
  return keys.length === Object.keys(b).length && keys.every((k) => a[k] === b[k]);
}
