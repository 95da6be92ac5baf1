/** Captures that the live page takes: one at a time, into a file without a name that is gone with this process, and that a
 *  browser can fetch once the capture has ended. */
import { randomUUID } from 'node:crypto';
import type { Readable } from 'node:stream';
import { HOPS, type Hop, DEFAULT_RING_BYTES, MAX_SNAPLEN } from '@grantline/observe';
import type { CaptureState, ToServer } from '../../page/messages.js';
import { CaptureRun, type BlockSink, type HopTotals } from '../capture/capture-run.js';
import { OutFile } from '../capture/out-file.js';
import { hopsOf, planCapture } from '../capture/capture-source.js';
import { RunError } from '../base/errors.js';
import type { Client } from '../control/client.js';
import type { Seen } from './watch.js';

/** A capture ends by itself when its file has so many bytes, and leaves so much of the disk as there is beyond it. */
export const PAGE_CAPTURE_BYTES = 256 << 20;
/** How often the page is told how far it is. */
const TELL_MS = 500;

type Start = Extract<ToServer, { op: 'capture' }>;

/** What a browser can fetch. */
export interface Download {
  name: string;
  bytes: number;
  stream: Readable;
}

interface Under {
  vif: string;
  hop: Hop | 'all';
  run: CaptureRun;
  file: OutFile;
  timer: NodeJS.Timeout;
}

class FullError extends Error {}

export class PageCaptures {
  private readonly client: Client;
  private readonly seen: () => Seen | null;
  private readonly onChange: () => void;
  private under: Under | null = null;
  private busy = false;
  private done: { id: string; name: string; file: OutFile } | null = null;
  private totals: HopTotals[] = [];
  private note = '';
  private closed = false;

  constructor(client: Client, seen: () => Seen | null, onChange: () => void) {
    this.client = client;
    this.seen = seen;
    this.onChange = onChange;
  }

  state(): CaptureState {
    const { under, done, note } = this;
    const totals = under?.run.totals() ?? this.totals;
    return {
      hops: hopsOf(this.seen()?.config.factors ?? null),
      running: under === null ? null : { vif: under.vif, hop: under.hop },
      bytes: under?.file.bytes ?? done?.file.bytes ?? 0,
      frames: totals.map(({ hop, frames, overflow }) => ({ hop, frames, overflow })),
      file: done === null ? null : { id: done.id, name: done.name },
      note,
    };
  }

  /** @returns what has been done. @throws Error whose message says what went wrong */
  async handle(request: Start | { op: 'capture-stop' }): Promise<string> {
    if (this.busy) throw new RunError('Wait: a capture is just starting or ending');
    this.busy = true;
    try {
      return request.op === 'capture' ? await this.start(request) : await this.stop('');
    } finally {
      this.busy = false;
      this.onChange();
    }
  }

  /** The last capture, when that is its id. */
  download(id: string): Download | null {
    const { done } = this;
    if (done?.id !== id) return null;
    return { name: done.name, bytes: done.file.bytes, stream: done.file.read() };
  }

  /** Gives everything back. */
  close(): void {
    this.closed = true;
    const { under } = this;
    this.under = null;
    if (under !== null) {
      clearInterval(under.timer);
      under.run.close();
      under.file.drop();
    }
    this.done?.file.drop();
    this.done = null;
  }

  private async start({ vif, hop }: Start): Promise<string> {
    if (this.under !== null) throw new RunError(`${this.under.vif} is being captured; stop that first`);
    const plans = await planCapture(this.client, vif, hop === 'all' ? null : hop);
    this.done?.file.drop();
    this.done = null;
    this.totals = [];
    this.note = '';
    const file = OutFile.unnamed();
    const sink: BlockSink = {
      add(block) {
        if (file.bytes > PAGE_CAPTURE_BYTES) throw new FullError(`the file has ${PAGE_CAPTURE_BYTES >> 20} MiB`);
        file.add(block);
      },
      flush: () => file.flush(),
    };
    let run: CaptureRun;
    try {
      run = await CaptureRun.open(
        plans,
        { frames: Infinity, snaplen: MAX_SNAPLEN, ringBytes: DEFAULT_RING_BYTES },
        sink,
      );
    } catch (error) {
      file.drop();
      throw error;
    }
    if (this.closed) {
      run.close();
      file.drop();
      throw new RunError('the testbed has ended');
    }
    this.under = { vif, hop, run, file, timer: setInterval(this.onChange, TELL_MS) };
    void run.ended.then((how) => {
      const why = how.why === 'lost' ? how.what : how.why === 'failed' ? how.error.message : '';
      if (this.under?.run === run) void this.stop(`It ended early: ${why}.`).then(this.onChange, this.onChange);
    });
    return `Capturing ${vif} at ${plans.map((p) => p.hop).join(', ')}.`;
  }

  private async stop(note: string): Promise<string> {
    const { under } = this;
    if (under === null) throw new RunError('nothing is being captured');
    const { run, file, vif, hop } = under;
    clearInterval(under.timer);
    this.note = note;
    try {
      this.totals = await run.stop();
    } catch (error) {
      // What is in the file is whole; only the statistics are missing.
      this.totals = run.totals();
      if (!(error instanceof FullError)) this.note = (error as Error).message;
    }
    this.under = null;
    if (this.closed) {
      file.drop();
      return '';
    }
    const stamp = new Date().toISOString().replace(/[-:]|\.\d+Z/g, '');
    this.done = { id: randomUUID(), name: `${vif}-${hop}-${stamp}.pcapng`, file };
    return `${run.frames} frames of ${vif} captured.`;
  }
}

/** What a browser may ask for. */
export const CAPTURE_HOPS: readonly (Hop | 'all')[] = ['all', ...HOPS];
