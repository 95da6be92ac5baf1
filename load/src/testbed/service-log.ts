/** The log file of a service: what it writes to stdout and stderr, bounded. A service whose code was replaced may write what it likes;
 *  the log lies beside what all share, and must not be able to fill it. */
import { closeSync, constants, fstatSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs';
import type { Readable } from 'node:stream';
import { printableLines } from '@grantline/base';

/** Of a file; the one before it is kept as FILE.1, so that a service has at most twice that. */
const FILE_BYTES = 256 << 10;
/** After so much of its output a service waits for a second. */
const BYTES_AT_ONCE = 1 << 20;

export class ServiceLog {
  private readonly path: string;
  private readonly fileBytes: number;
  private fd: number;
  private size: number;
  private taken = 0;
  private readonly sources: Readable[] = [];
  private pause: NodeJS.Timeout | null = null;

  /** @param path made when it is not there, never through a link */
  constructor(path: string, fileBytes = FILE_BYTES) {
    this.path = path;
    this.fileBytes = fileBytes;
    this.fd = open(path);
    this.size = fstatSync(this.fd).size;
  }

  /** Takes what `source` gives until it ends. */
  take(source: Readable): void {
    this.sources.push(source);
    source.on('data', (chunk: Buffer) => this.write(chunk));
    source.on('error', () => {});
  }

  /** Takes no more, and gives the file back. */
  close(): void {
    if (this.pause !== null) clearTimeout(this.pause);
    for (const source of this.sources) source.destroy();
    if (this.fd >= 0) closeSync(this.fd);
    this.fd = -1;
  }

  private write(chunk: Buffer): void {
    this.taken += chunk.length;
    if (this.taken >= BYTES_AT_ONCE) this.hold();
    if (this.fd < 0) return;
    try {
      if (this.size + chunk.length > this.fileBytes && this.size > 0) this.turn();
      // What comes at once is 64 KiB at most.
      this.size += writeSync(this.fd, chunk);
    } catch {
      // The disk is full, or the folder is gone: the log ends, the service goes on.
    }
  }

  /** Begins a new file. */
  private turn(): void {
    closeSync(this.fd);
    this.fd = -1;
    renameSync(this.path, before(this.path));
    this.fd = open(this.path);
    this.size = 0;
  }

  private hold(): void {
    for (const source of this.sources) source.pause();
    this.pause ??= setTimeout(() => {
      this.pause = null;
      this.taken = 0;
      for (const source of this.sources) source.resume();
    }, 1000).unref();
  }
}

const before = (path: string): string => `${path}.1`;

function open(path: string): number {
  const { O_WRONLY, O_APPEND, O_CREAT, O_NOFOLLOW } = constants;
  return openSync(path, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW, 0o600);
}

/** What is shown of a line at most: a service may say anything. */
const LINE_CHARS = 4000;

/** Readable last lines of a log of JSON lines: messages of these, other lines as they are; printable, all of them. */
export function lastLogLines(path: string, count: number): string[] {
  const text = [before(path), path].map(textOf).join('');
  const lines = text.split('\n').filter((l) => l.trim() !== '');
  return lines.slice(-count).map((line) => printableLines(messageIn(line), LINE_CHARS));
}

function messageIn(line: string): string {
  try {
    const o = JSON.parse(line) as { msg?: string; err?: { message?: string; stack?: string } };
    return [o.msg, o.err?.stack ?? o.err?.message].filter((x) => x !== undefined).join(': ') || line;
  } catch {
    return line;
  }
}

function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
