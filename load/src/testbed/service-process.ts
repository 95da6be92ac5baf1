/** One service as a child process: its environment, its log file, its end. */
import { spawn, type ChildProcess } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { entryOf, type ServiceKind } from './paths.js';
import { inheritedEnv, startAs, userEnv, type ServiceUser } from './service-env.js';
import { lastLogLines, ServiceLog } from './service-log.js';

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
  private over = false;

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
        this.over = true;
        end(error.message);
      });
      this.child.once('exit', (code, signal) => {
        this.over = true;
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
    return !this.over;
  }

  /** @returns the last lines of its log: messages of the JSON lines, other lines as they are */
  lastLines(count = 5): string[] {
    return lastLogLines(this.logFile, count);
  }

  /** Asks it to end; after `graceMs` makes it. */
  async stop(graceMs: number): Promise<void> {
    if (this.over) return;
    this.child.kill('SIGTERM');
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((done) => {
      timer = setTimeout(done, graceMs);
    });
    await Promise.race([this.ended, late]);
    clearTimeout(timer);
    if (!this.over) this.kill();
    await this.ended;
  }

  /** At once, without a word: also from an exit handler. */
  kill(): void {
    if (!this.over) this.child.kill('SIGKILL');
  }
}

/** GRANTLINE_NODE_FLAGS: flags for the services' Node, for example --cpu-prof --cpu-prof-dir=DIR. */
const nodeFlags = (): string[] => (process.env['GRANTLINE_NODE_FLAGS'] ?? '').split(' ').filter((f) => f !== '');
