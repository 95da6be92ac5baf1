/** One service as a child process: its environment, its log file, its end. */
import { closeSync, constants, fstatSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs';
import type { Readable } from 'node:stream';
import { spawn, type ChildProcess } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { printableLines } from '@grantline/base';
import { within } from '../control/session.js';
import { entryOf, type ServiceKind } from './paths.js';
import { inheritedEnv, startAs, userEnv, type ServiceUser } from './service-env.js';

/** Of a file; the one before it is kept as FILE.1, so that a service has at most twice that. */
const FILE_BYTES = 256 << 10;
/** After so much of its output a service waits for a second. */
const BYTES_AT_ONCE = 1 << 20;

/** The log file of a service: what it writes to stdout and stderr, bounded. A service whose code was replaced may write what it likes;
 *  the log lies beside what all share, and must not be able to fill it. */
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

export interface ServiceOptions {
  /** As in messages: guest1. */
  name: string;
  service: ServiceKind;
  env: Record<string, string>;
  /** Whom it runs as; null: as we do. */
  user?: ServiceUser | null;
  /** It needs root at first, for a TAP device, and becomes that user once it has it. */
  privileged?: boolean;
  logFile: string;
}

/** How long a service that has ended may still be heard. */
const LAST_WORDS_MS = 500;

export class ServiceProcess {
  readonly name: string;
  readonly logFile: string;
  /** Fulfilled with how it ended: "exit code 1", "signal SIGKILL". */
  readonly ended: Promise<string>;
  private readonly child: ChildProcess;
  private hasEnded = false;

  constructor(options: ServiceOptions) {
    this.name = options.name;
    this.logFile = options.logFile;
    const entry = entryOf(options.service);
    const plain = [process.execPath, ...nodeFlags(), entry];
    const user = options.user ?? null;
    const [command, ...args] = (user !== null && !options.privileged && startAs(user, plain)) || plain;
    this.child = spawn(command, args, {
      env: { ...inheritedEnv(), ...options.env, ...(user === null ? {} : userEnv(user)), GRANTLINE_LIFELINE: 'stdin' },
      stdio: ['pipe', 'pipe', 'pipe'],
      // Not detached: it leaves the process group by itself, so that Ctrl-C in a terminal reaches the supervisor alone, which then
      // stops all in order. With a session of its own it could not give its core to another service (docs/adr/0012).
      detached: false,
    });
    const log = new ServiceLog(options.logFile);
    for (const source of [this.child.stdout, this.child.stderr]) if (source !== null) log.take(source);
    // The pipe breaks when the service dies; its end is told by `ended`.
    this.child.stdin?.on('error', () => {});
    this.ended = new Promise((done) => {
      const end = (how: string): void => {
        log.close();
        done(how);
      };
      this.child.once('error', (error) => {
        this.hasEnded = true;
        end(error.message);
      });
      this.child.once('exit', (code, signal) => {
        this.hasEnded = true;
        // Its last words are on their way; what holds its output open longer is not waited for.
        const said = new Promise<void>((all) => this.child.once('close', () => all()));
        const how = signal === null ? `exit code ${code}` : `signal ${signal}`;
        void Promise.race([said, sleep(LAST_WORDS_MS)]).then(() => end(how));
      });
    });
  }

  get pid(): number | undefined {
    return this.child.pid;
  }

  get running(): boolean {
    return !this.hasEnded;
  }

  /** @returns the last lines of its log: messages of the JSON lines, other lines as they are */
  lastLines(count = 5): string[] {
    return lastLogLines(this.logFile, count);
  }

  /** Asks it to end; after `graceMs` makes it. */
  async stop(graceMs: number): Promise<void> {
    if (this.hasEnded) return;
    this.child.kill('SIGTERM');
    await within(graceMs, this.ended);
    if (!this.hasEnded) this.kill();
    await this.ended;
  }

  /** At once, without a word: also from an exit handler. */
  kill(): void {
    if (!this.hasEnded) this.child.kill('SIGKILL');
  }
}

/** GRANTLINE_NODE_FLAGS: flags for the services' Node, for example --cpu-prof --cpu-prof-dir=DIR. */
const nodeFlags = (): string[] => (process.env['GRANTLINE_NODE_FLAGS'] ?? '').split(' ').filter((f) => f !== '');
