/** Reads a counter file (counter-file.ts) of another process, also of a dead one, and of one that means harm: a guest may write anything there.
 *  However a file is made, a look takes a bounded number of reads and waits for nobody: it is done where an event loop runs. */
import { readSync } from 'node:fs';
import { Type } from '@sinclair/typebox';
import { Value } from '@sinclair/typebox/value';
import { nowNs } from '@grantline/base';
import {
  BLOCKS_AT,
  COUNTER_FILE_BYTES,
  COUNTER_MAGIC,
  TOC_AT,
  type BlockSnapshot,
  type TocEntry,
} from '@grantline/machine';

/** Fills the buffer with what stands at that offset; what lies beyond the end is zero. */
export type ReadAt = (into: Buffer, at: number) => void;

/** Times that the blocks are read in one look, while some of them are being written. */
const ATTEMPTS = 4;
/** A writer that has stood in the middle of a commit for so long is dead: less could be one that lost the core. */
const DEAD_NS = 1e9;

const Name = Type.String({ maxLength: 100 });
const Toc = Type.Array(
  Type.Object(
    {
      kind: Name,
      labels: Type.Record(Type.String({ maxLength: 100 }), Type.String({ maxLength: 300 }), { maxProperties: 16 }),
      names: Type.Array(Name, { maxItems: 1024 }),
      at: Type.Integer({ minimum: BLOCKS_AT, maximum: COUNTER_FILE_BYTES - 8, multipleOf: 8 }),
    },
    { additionalProperties: false },
  ),
  { maxItems: (COUNTER_FILE_BYTES - BLOCKS_AT) / 64 },
);

/** A block as it was seen last. */
interface Seen {
  sequence: number;
  /** When it was first seen with that sequence. */
  sinceNs: number;
  /** null: it has never been seen whole. */
  values: Record<string, number> | null;
}

export class CounterReader {
  private readonly readAt: ReadAt;
  private readonly clock: () => number;
  private readonly head = Buffer.alloc(TOC_AT);
  private readonly blocks = Buffer.alloc(COUNTER_FILE_BYTES - BLOCKS_AT);
  private readonly sequences = Buffer.alloc(COUNTER_FILE_BYTES - BLOCKS_AT);
  private toc: { text: string; entries: TocEntry[] } = { text: '', entries: [] };
  /** By place in the table of contents. */
  private seen: Seen[] = [];

  constructor(readAt: ReadAt, clock = nowNs) {
    this.readAt = readAt;
    this.clock = clock;
  }

  /** The values of a block belong together, as with CounterBlock.read. Of one that is being written all the while, those of the look
   *  before are told; of one whose writer has died in the middle of it, what is there.
   *  @throws Error when it is not a counter file, or cannot be told yet */
  read(): BlockSnapshot[] {
    const entries = this.entries();
    const end = entries.reduce((n, e) => Math.max(n, endOf(e)), BLOCKS_AT);
    const blocks = this.blocks.subarray(0, end - BLOCKS_AT);
    const sequences = this.sequences.subarray(0, end - BLOCKS_AT);
    const now: (Seen | null)[] = entries.map(() => null);
    let missing = entries.length;
    const nowAtNs = this.clock();
    for (let attempt = 0; attempt < ATTEMPTS && missing > 0; attempt++) {
      // The sequence words before the values and after them, each by a call of its own so that the order is certain.
      this.readAt(sequences, BLOCKS_AT);
      const before = entries.map(({ at }) => sequences.readUInt32LE(at - BLOCKS_AT));
      this.readAt(blocks, BLOCKS_AT);
      this.readAt(sequences, BLOCKS_AT);
      entries.forEach(({ at, names }, i) => {
        const sequence = before[i];
        if (now[i] !== null || sequence !== sequences.readUInt32LE(at - BLOCKS_AT)) return;
        const known = this.seen[i];
        const sinceNs = known?.sequence === sequence ? known.sinceNs : nowAtNs;
        // A dead writer leaves the block as it is.
        if ((sequence & 1) !== 0 && nowAtNs - sinceNs < DEAD_NS) return;
        now[i] = { sequence, sinceNs, values: valuesOf(blocks, at - BLOCKS_AT, names) };
        missing--;
      });
    }
    this.seen = entries.map(({ at }, i) => {
      const whole = now[i];
      if (whole) return whole;
      const known = this.seen[i];
      const sequence = sequences.readUInt32LE(at - BLOCKS_AT);
      const sinceNs = known?.sequence === sequence ? known.sinceNs : nowAtNs;
      return { sequence, sinceNs, values: known?.values ?? null };
    });
    return entries.map(({ kind, labels }, i) => {
      const values = this.seen[i]?.values ?? null;
      if (values === null) throw new Error('the counters are being written');
      return { kind, labels: { ...labels }, values: { ...values } };
    });
  }

  private entries(): TocEntry[] {
    const { head, toc } = this;
    this.readAt(head, 0);
    if (head.readUInt32LE(0) !== COUNTER_MAGIC) throw new Error('it is not a counter file');
    const length = Math.min(head.readUInt32LE(8), BLOCKS_AT - TOC_AT);
    const bytes = Buffer.alloc(length);
    this.readAt(bytes, TOC_AT);
    const text = bytes.toString('latin1');
    if (text === toc.text) return toc.entries;
    const entries = length === 0 ? [] : parseToc(bytes);
    this.toc = { text, entries };
    // Blocks are only added, at the end.
    const same = toc.entries.every((e, i) => entries[i]?.at === e.at && entries[i].names.length === e.names.length);
    if (!same) this.seen = [];
    return entries;
  }
}

/** Of an open file. */
export const readerOf =
  (fd: number): ReadAt =>
  (into, at) => {
    into.fill(0, readSync(fd, into, 0, into.length, at));
  };

/** @throws Error for what no writer of ours makes; also while a block is being added: text and length are not written at once */
function parseToc(bytes: Buffer): TocEntry[] {
  let found: unknown = null;
  try {
    found = JSON.parse(bytes.toString('utf8'));
  } catch {
    // As for what is no table.
  }
  if (!Value.Check(Toc, found) || found.some((e) => endOf(e) > COUNTER_FILE_BYTES))
    throw new Error('its table of contents cannot be read');
  return found;
}

const endOf = ({ at, names }: TocEntry): number => at + 8 + names.length * 8;

function valuesOf(bytes: Buffer, at: number, names: readonly string[]): Record<string, number> {
  return Object.fromEntries(names.map((name, i) => [name, bytes.readDoubleLE(at + 8 + i * 8)]));
}
