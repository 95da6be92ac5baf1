/** The embedded testbed: all services as child processes of this one, in a directory of their own. It starts them,
 *  notices when one dies, and leaves nothing behind: no process, no file. */
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { RunError, UserError } from '../base/errors.js';
import { untilNothingLeft } from '../base/standstill.js';
import {
  Client,
  describeVifs,
  serviceName,
  type DomainInfo,
  type DomainKind,
  type NewDomain,
} from '../control/client.js';
import { call, HttpError } from '../base/http.js';
import { allowedCores, canonical, startTimeOf, type Placement } from '@grantline/base';
import { hypervisorIn } from './discover.js';
import { checkPort, checkSpace, makeDir, resolved } from './preflight.js';
import { identityEnv, placeEnv, userOf, type ServiceUser } from './service-env.js';
import { ServiceProcess } from './service-process.js';
import { TestbedRecord, tokenFile, type TestbedFile } from './testbed-file.js';
import { entryOf, SERVICES } from './paths.js';

export interface SupervisorOptions {
  dir: string;
  guests: number;
  use: TestbedFile['use'];
  /** Where the services' logs go; in the testbed's directory when not given. */
  logDir?: string;
  /** Where the hypervisor answers; a free port of the loopback address when not given. */
  listen?: { host: string; port: number };
  /** Where the edge listens for guest 1; guest n has port + n - 1. Free ports of the loopback address when not given. */
  edge?: { host: string; port: number } | null;
  /** Which cores data threads are pinned to; default apart. */
  placement?: Placement;
  /** Address of the live page, for commands that use this testbed. */
  page?: string;
  /** Kernels behind TAP devices, as the environment of the NIC and of each guest (taps.ts). */
  taps?: { nic: Record<string, string>; guest: (domid: number) => Record<string, string>; guests: number[] };
  /** A guest of a testbed that stays has ended without being asked to: the testbed goes on without it. */
  onGuestEnd?: (what: string) => void;
  /** One line per step. */
  say?: (line: string) => void;
}

/** So long no service may get any further while they start. */
const STAND_MS = 30_000;
/** Interrupt and terminate end everything within 3 s: domains first, so that the hypervisor can say goodbye to them. */
const DOMAIN_GRACE_MS = 1500;
const HYPERVISOR_GRACE_MS = 800;

export class Supervisor {
  readonly dir: string;
  readonly logDir: string;
  /** Fulfilled when a service has ended that was not asked to. */
  readonly failure: Promise<RunError>;
  private readonly o: SupervisorOptions;
  private readonly processes: ServiceProcess[] = [];
  /** Guests that are just coming or going: their end is no failure of the testbed. */
  private readonly unsettled = new Set<string>();
  /** Guests started so far: decides on cores. */
  private guestsStarted = 0;
  private fail: (error: RunError) => void = () => {};
  /** What is in the directory is ours from then on. */
  private record: TestbedRecord | null = null;
  /** All that the testbed was to begin with is there. */
  private started = false;
  private stopping: Promise<void> | null = null;

  constructor(options: SupervisorOptions) {
    this.o = options;
    this.dir = canonical(options.dir);
    this.logDir = options.logDir ?? join(this.dir, 'logs');
    this.failure = new Promise((done) => {
      this.fail = done;
    });
  }

  /** Starts all services and waits until they are ready. The directory must be empty or not there (`discover`). */
  async start(): Promise<Client> {
    const { dir } = this;
    const { guests } = this.o;
    for (const service of SERVICES) entryOf(service);
    checkSpace(guests);
    const host = await resolved(this.o.listen?.host ?? '127.0.0.1');
    const port = this.o.listen?.port ?? 0;
    if (port !== 0) await checkPort(host, port);
    const { edge } = this.o;
    if (edge && edge.port !== 0)
      for (let n = 0; n < guests; n++) await checkPort(await resolved(edge.host, '--edge'), edge.port + n, '--edge');
    // What is made from here on, `stop` has to find: it may have been called meanwhile.
    this.checkGoing();

    makeDir(dir);
    const file: TestbedFile = {
      schema: 'grantline.testbed/1',
      pid: process.pid,
      startTime: startTimeOf(process.pid) ?? 0,
      hypervisor: null,
      token: tokenFile(dir),
      use: this.o.use,
    };
    this.record = TestbedRecord.claim(dir, file);
    mkdirSync(this.logDir, { recursive: true });

    const hypervisor = this.spawn('hypervisor', 'hypervisor', { GRANTLINE_HTTP: `${bracketed(host)}:${port}` });
    let url = '';
    await this.until(async () => {
      // It says itself where it listens, in a file of its own: what answers at a port that was free before may be a stranger.
      const found = hypervisorIn(dir);
      if (found === null || found.pid !== hypervisor.pid || found.port === 0) return 'hypervisor: does not listen yet';
      url = `http://${bracketed(reachable(host))}:${found.port}`;
      return unready('hypervisor', url);
    });
    const client = Client.open(url, file.token);

    const wanted: DomainKind[] = ['driver-domain', 'nic', ...Array.from({ length: guests }, () => 'guest' as const)];
    for (const kind of wanted) await this.startDomain(client, kind);
    await this.untilReady(client, wanted.length);
    const { page, taps, placement } = this.o;
    this.record.write({
      ...file,
      hypervisor: url,
      placement: placement ?? 'apart',
      ...(page === undefined ? {} : { page }),
      ...(taps === undefined || taps.guests.length === 0 ? {} : { kernelGuests: taps.guests }),
    });
    this.started = true;
    return client;
  }

  /** Adds a guest to the running testbed and waits until it answers and its vif has connected, or is to stay closed.
   *  @throws RunError when it does not start; it is then taken away again, and the testbed goes on */
  async addGuest(client: Client): Promise<void> {
    const domain = await client.createDomain('guest');
    const name = serviceName({ kind: 'guest', domid: domain.domid });
    this.unsettled.add(name);
    try {
      this.launch(name, 'guest', domain);
      await this.until(async () => {
        const found = (await client.testbed()).domains.find((d) => d.domid === domain.domid);
        const left = await stageOf(name, found);
        if (left !== null) return left;
        const { settled, vifs } = await client.config();
        return settled ? null : `${name}: its vif does not connect: ${describeVifs(vifs)}`;
      });
      this.unsettled.delete(name);
    } catch (error) {
      await this.removeGuest(client, domain.domid);
      throw error;
    }
  }

  /** Destroys a guest of the running testbed; returns when its process has ended. */
  async removeGuest(client: Client, domid: number): Promise<void> {
    const name = serviceName({ kind: 'guest', domid });
    const process = this.processes.find((p) => p.name === name);
    this.unsettled.add(name);
    try {
      await client.deleteDomain(domid);
    } catch (error) {
      // It goes on, and so does the watch over it.
      this.unsettled.delete(name);
      if (process?.running === false) this.forget(process);
      throw error;
    }
    await process?.stop(DOMAIN_GRACE_MS);
    if (process) this.forget(process);
  }

  private forget(process: ServiceProcess): void {
    this.processes.splice(this.processes.indexOf(process), 1);
  }

  /** Ends all services and removes the directory. Can be called more than once, and while starting. */
  stop(): Promise<void> {
    this.stopping ??= this.stopAll();
    return this.stopping;
  }

  /** The last resort, for exit handlers: nothing asynchronous. */
  killNow(): void {
    for (const p of this.processes) p.kill();
    this.removeDir();
  }

  private async stopAll(): Promise<void> {
    const [hypervisor, ...domains] = this.processes;
    await Promise.all(domains.map((p) => p.stop(DOMAIN_GRACE_MS)));
    await hypervisor?.stop(HYPERVISOR_GRACE_MS);
    this.removeDir();
  }

  private removeDir(): void {
    if (this.record === null) return;
    rmSync(this.dir, { recursive: true, force: true, maxRetries: 3 });
    this.record.close();
    this.record = null;
  }

  private async startDomain(client: Client, kind: DomainKind): Promise<void> {
    const domain = await client.createDomain(kind);
    this.launch(serviceName({ kind, domid: domain.domid }), kind, domain);
  }

  private launch(name: ServiceProcess['name'], kind: DomainKind, domain: NewDomain): void {
    const nth = kind === 'guest' ? this.guestsStarted++ : 0;
    const guests = Math.max(this.o.guests, this.guestsStarted);
    const place = placeEnv(kind, nth, allowedCores(), this.o.placement ?? 'apart', guests);
    const { taps } = this.o;
    const tap = (kind === 'nic' ? taps?.nic : kind === 'guest' ? taps?.guest(domain.domid) : undefined) ?? {};
    const edge =
      kind === 'nic' && this.o.edge ? { GRANTLINE_EDGE: `${bracketed(this.o.edge.host)}:${this.o.edge.port}` } : {};
    const user = userOf(domain, this.dir);
    this.spawn(name, kind, { ...identityEnv(domain), ...place, ...tap, ...edge }, user, Object.keys(tap).length > 0);
  }

  /** @param privileged see ServiceOptions */
  private spawn(
    name: ServiceProcess['name'],
    service: (typeof SERVICES)[number],
    env: Record<string, string>,
    user: ServiceUser | null = null,
    privileged = false,
  ): ServiceProcess {
    this.checkGoing();
    const process = new ServiceProcess({
      name,
      service,
      logFile: join(this.logDir, `${name}.log`),
      // The hypervisor's socket is in it.
      env: { GRANTLINE_DIR: this.dir, ...env },
      user,
      privileged,
    });
    this.processes.push(process);
    void process.ended.then((how) => {
      if (this.stopping || this.unsettled.has(name)) return;
      const death = this.deathOf(process, how);
      // One guest's end is no reason to end those of others. While all start, `until` tells it; whoever measures with a
      // testbed of its own has lost what it measures.
      if (service !== 'guest' || this.o.use !== 'up' || !this.started) return this.fail(death);
      this.forget(process);
      this.o.onGuestEnd?.(death.message);
    });
    return process;
  }

  /** @throws RunError once it is being stopped: nothing is begun any more that nobody would end */
  private checkGoing(): void {
    if (this.stopping) throw new RunError('the testbed is being stopped');
  }

  private deathOf(process: ServiceProcess, how: string): RunError {
    const lines = process.lastLines().map((l) => `    ${l}`);
    return new RunError(
      `service ${process.name} died (${how})${lines.length > 0 ? `; its last words:\n${lines.join('\n')}` : ''}`,
    );
  }

  /** Waits until all domains that were made answer that they are ready. */
  private async untilReady(client: Client, count: number): Promise<void> {
    const ready = new Set<number>();
    await this.until(async () => {
      const { domains } = await client.testbed();
      const left: string[] = [];
      for (const d of domains.filter(({ domid }) => !ready.has(domid))) {
        const stage = await stageOf(serviceName(d), d);
        if (stage === null) ready.add(d.domid);
        else left.push(stage);
      }
      if (left.length > 0) return left.join('; ');
      return ready.size < count ? `the hypervisor knows ${domains.length} of ${count} domains` : null;
    });
  }

  /** Looks until nothing is left. A service that dies meanwhile ends the wait; so does a standstill. */
  private until(look: () => Promise<string | null>): Promise<void> {
    return untilNothingLeft(
      async () => {
        const dead = this.processes.find((p) => !p.running);
        if (dead) throw this.startFailure(dead, await dead.ended);
        try {
          return await look();
        } catch (error) {
          // What does not answer in time is one more thing to wait for.
          if (error instanceof HttpError) return error.message;
          throw error;
        }
      },
      { standMs: STAND_MS },
    );
  }

  /** A service that ended with exit code 2 refused its environment: its own line says why. */
  private startFailure(process: ServiceProcess, how: string): Error {
    const line = process.lastLines(1)[0] ?? '';
    const m = /^grantline [\w-]+: (.+?): (.+)$/.exec(line);
    if (how === 'exit code 2' && m) return new UserError(`${process.name}: ${m[1]}`, m[2]);
    return this.deathOf(process, how);
  }
}

/** How far a domain is on its way to being ready. @returns null when it is */
async function stageOf(name: string, d: DomainInfo | undefined): Promise<string | null> {
  if (d === undefined) return `${name}: the hypervisor does not know it`;
  if (d.state === 'dead') return `${name}: is dead for the hypervisor`;
  if (d.state === 'created') return `${name}: its process has not called the hypervisor yet`;
  return d.http === null ? `${name}: has connected, and sets itself up` : unready(name, d.http);
}

async function unready(name: string, url: string): Promise<string | null> {
  try {
    await call(name, url, '/health/ready', { timeoutMs: 1000 });
    return null;
  } catch (error) {
    if (!(error instanceof HttpError)) throw error;
    return `${name}: ${error.message}`;
  }
}

const bracketed = (host: string): string => (host.includes(':') ? `[${host}]` : host);

/** "Any address" is none to call. */
const reachable = (host: string): string => (host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '::1' : host);
