/** The two processes that a run by HTTP has besides the testbed: the generator, and the application on loopback. */
import { fork, type ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import { RunError, UserError } from '../base/errors.js';
import { within } from '../control/session.js';
import { programOf } from '../testbed/paths.js';
import type { Generated, GeneratorSays, LoadPlan, PhaseTold } from './plan.js';

const GENERATOR = programOf('load/dist/src/http/generator-main.js');
const START_LIMIT_MS = 15_000;
/** What a run may take beyond its own time. */
const SLACK_MS = 40_000;

/** A child that ends with this process, whatever happens to it: its IPC channel closes. */
export class Child {
  readonly process: ChildProcess;
  private readonly name: string;

  constructor(name: string, script: string, env: Record<string, string> = {}) {
    this.name = name;
    this.process = fork(script, {
      env: { ...process.env, ...env },
      execArgv: (process.env['GRANTLINE_NODE_FLAGS'] ?? '').split(' ').filter((f) => f !== ''),
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
      // Ctrl-C in a terminal is for the command, which then ends this.
      detached: true,
    });
    // It could not be started, or cannot be told any more: the caller that waits for an answer hears of it.
    this.process.on('error', () => {});
  }

  /** The first message that `pick` takes. @throws RunError when it ends, or nothing comes in time */
  hear<T>(pick: (message: unknown) => T | undefined, limitMs: number): Promise<T> {
    const child = this.process;
    return new Promise((resolve, reject) => {
      const finish = (act: () => void): void => {
        clearTimeout(timer);
        child.off('message', onMessage).off('exit', onExit).off('error', onError);
        act();
      };
      const onMessage = (message: unknown): void => {
        try {
          const found = pick(message);
          if (found !== undefined) finish(() => resolve(found));
        } catch (error) {
          const reason = error instanceof Error ? error : new Error(String(error));
          finish(() => reject(reason));
        }
      };
      const onExit = (code: number | null, signal: string | null): void =>
        finish(() => reject(new RunError(`${this.name} ended (${signal ?? `exit code ${code}`})`)));
      const onError = (error: NodeJS.ErrnoException): void =>
        finish(() => reject(new RunError(`${this.name} cannot be reached (${error.code ?? error.message})`)));
      const timer = setTimeout(
        () => finish(() => reject(new RunError(`${this.name} said nothing for ${limitMs / 1000} s`))),
        limitMs,
      );
      child.on('message', onMessage).on('exit', onExit).on('error', onError);
      if (child.exitCode !== null || child.signalCode !== null) onExit(child.exitCode, child.signalCode);
    });
  }

  async stop(): Promise<void> {
    const child = this.process;
    if (child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((done) => child.once('exit', done));
    if (child.connected) child.disconnect();
    await within(1000, ended);
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL');
    await ended;
  }

  kill(): void {
    this.process.kill('SIGKILL');
  }
}

/** Runs a plan in a process of its own. */
export class GeneratorProcess {
  private child: Child | null = null;

  /** @param tell called when the measured time starts and ends @throws RunError when the load cannot be made */
  async run(plan: LoadPlan, tell: (phase: PhaseTold) => void): Promise<Generated> {
    this.child = new Child('the generator', GENERATOR);
    try {
      const limitMs = (plan.warmup + plan.seconds) * 1000 + SLACK_MS;
      const result = this.child.hear((m) => {
        const said = m as GeneratorSays;
        if ('phase' in said) return void tell(said.phase);
        if ('failed' in said) throw new RunError(`no load on ${plan.urls.join(', ')}: ${said.failed}`);
        return said.result;
      }, limitMs);
      this.child.process.send(plan);
      return await result;
    } finally {
      await this.child.stop();
      this.child = null;
    }
  }

  stop(): Promise<void> {
    return this.child?.stop() ?? Promise.resolve();
  }

  kill(): void {
    this.child?.kill();
  }
}

/** CPU time of a process at a moment; nanoseconds. */
export interface Usage {
  cpuNs: number;
  atNs: number;
}

/** The application on loopback. */
export class Loopback {
  readonly url: string;
  private readonly child: Child;

  private constructor(child: Child, port: number) {
    this.child = child;
    this.url = `http://127.0.0.1:${port}`;
  }

  /** @param core that it is pinned to: the guest's; null: none @throws UserError when it is not built */
  static async start(core: number | null): Promise<Loopback> {
    const script = programOf('services/guest/dist/src/web/loopback.js');
    if (!existsSync(script)) throw new UserError('services/guest is not built', 'run npm start or npm run build first');
    const child = new Child('the loopback server', script, core === null ? {} : { GRANTLINE_CORE: String(core) });
    try {
      const port = await child.hear((m) => (m as { port?: number }).port, START_LIMIT_MS);
      return new Loopback(child, port);
    } catch (error) {
      await child.stop();
      throw error;
    }
  }

  usage(): Promise<Usage> {
    const answer = this.child.hear((m) => ('cpuNs' in (m as object) ? (m as Usage) : undefined), START_LIMIT_MS);
    this.child.process.send({});
    return answer;
  }

  stop(): Promise<void> {
    return this.child.stop();
  }

  kill(): void {
    this.child.kill();
  }
}
