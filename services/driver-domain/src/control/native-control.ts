/** `native`: the driver domain's own stack and application take the frames. It runs exactly while the factors of all
 *  vifs say so; follows /tool/run then (docs/wire/control-plane.md section 8). */
import { type DomId, RUN_PATH, parseRun, type Run } from '@grantline/base';
import { domainPath, type XenstoreClient } from '@grantline/xen';
import type { CounterBlock, Logs } from '@grantline/machine';
import { startApp, type Apps, type RxStack, parseSend } from '@grantline/measure';
import type { DefaultQueue } from './default-queue.js';
import { Healer, type HealerOptions } from './healer.js';
import type { NativeSender } from './native-sender.js';
import type { NativeGate } from './back-vif.js';

export interface NativeOptions {
  domid: DomId;
  xenstore: Pick<XenstoreClient, 'read' | 'write' | 'watch'>;
  /** Called before the driver domain becomes the receiver, and before it is a driver domain again; and when a run begins.
   *  @param away true: off the NIC's core */
  place: (away: boolean) => void;
  queue: Pick<DefaultQueue, 'startBridge' | 'startNative' | 'stop' | 'onBroken'>;
  stack: Pick<RxStack, 'app' | 'lroOn' | 'fragment' | 'process' | 'deliver'>;
  apps: Apps;
  driver: CounterBlock;
  /** Transmit: buffers and a queue, and what a run has it send. */
  sender: Pick<NativeSender, 'start' | 'stop' | 'onBroken'>;
  prepareSend: (text: string) => Promise<void>;
  log: Logs<'warn'>;
  /** Time, for tests. */
  healing?: Partial<HealerOptions>;
}

export class NativeControl implements NativeGate {
  running = false;
  run: Run | null = null;
  /** Native began or ended: vifs that waited for it look again. */
  onChange: () => void = () => {};
  private readonly o: NativeOptions;
  private readonly healer: Healer;
  private readonly wanted = new Map<string, boolean>();
  private switching: Promise<void> = Promise.resolve();
  private announced: string | null = null;
  private tso = false;
  private text = '';
  /** In the run that was announced last guests send to the far end of the cable, which then needs the NIC's core for itself. */
  private sends = false;

  constructor(options: NativeOptions) {
    this.o = options;
    const { queue, sender, driver, log, healing } = options;
    const renew = (): void => this.renew();
    this.healer = new Healer({ name: 'default queue', renew, counters: driver, log, ...healing });
    queue.onBroken = sender.onBroken = (reason) => this.broken(reason);
  }

  /** Gives the default queue to the bridge as soon as the NIC is there, and follows /tool/run from now on. */
  async begin(): Promise<void> {
    this.switching = this.o.queue.startBridge().catch((err: unknown) => this.o.log.warn({ err }, 'no default queue'));
    await this.o.xenstore.watch(RUN_PATH, () => void this.look());
  }

  async settle(vif: string, native: boolean, lro: boolean, tso = false): Promise<boolean> {
    this.wanted.set(vif, native);
    if (native) {
      this.o.stack.lroOn = lro;
      this.tso = tso;
    }
    await this.change();
    return this.running === native;
  }

  /** A vif is gone: it has no say any more. */
  forget(vif: string): void {
    if (this.wanted.delete(vif)) void this.change().then(() => this.onChange());
  }

  /** The NIC is gone, and the default queue with it: the bridge or `native`, whichever drives it, gets one of the next NIC. */
  nicGone(): void {
    this.healer.forget();
    this.renew();
  }

  /** A NIC queue that is driven here gave up: the default one, or the one that the application of `native` sends by. */
  broken(reason: string): void {
    this.healer.broken(reason);
  }

  /** The service ends. */
  giveUp(): void {
    this.healer.forget();
  }

  /** Who drives the default queue gets another, and so does who sends in `native`. */
  private renew(): void {
    void this.inTurn(() => this.handOver(this.running));
  }

  describe(): Record<string, unknown> {
    const { record } = this.o.apps;
    return {
      running: this.running,
      run: this.run,
      announced: this.announced,
      recorded: record.count,
      notKept: record.notKept,
    };
  }

  private allWant(): boolean {
    return this.wanted.size > 0 && [...this.wanted.values()].every((w) => w);
  }

  private change(): Promise<void> {
    return this.inTurn(() => this.changeOnce());
  }

  private inTurn(step: () => Promise<void>): Promise<void> {
    this.switching = this.switching.then(step).catch((err: unknown) => {
      this.o.log.warn({ err }, 'the default queue could not change hands');
    });
    return this.switching;
  }

  private async changeOnce(): Promise<void> {
    const want = this.allWant();
    if (want === this.running) return;
    await this.handOver(want);
    this.running = want;
    if (want) await this.announce();
    setImmediate(this.onChange);
  }

  private async handOver(native: boolean): Promise<void> {
    const { queue, stack, driver, sender } = this.o;
    await sender.stop();
    await queue.stop();
    this.o.place(native || this.sends);
    if (native) {
      await queue.startNative(stack, driver);
      await sender.start(this.tso);
    } else await queue.startBridge();
  }

  private async look(): Promise<void> {
    const text = await this.o.xenstore.read(RUN_PATH).catch(() => null);
    const run = parseRun(text);
    if (run === null || run.id === this.run?.id) return;
    this.run = run;
    this.text = text ?? '';
    const part = parseSend(this.text);
    this.sends = part !== null && !part.responds && !part.toGuest;
    this.o.place(this.running || this.sends);
    await this.announce();
  }

  /** Puts the application that the run wants behind the stack, and says so. Once for each run. */
  private async announce(): Promise<void> {
    const { run } = this;
    const { stack, apps, xenstore, domid, log } = this.o;
    if (run === null || !this.running || run.id === this.announced) return;
    try {
      startApp(stack, apps, run);
      await this.o.prepareSend(this.text);
      this.announced = run.id;
      await xenstore.write(`${domainPath(domid)}/data/run-ready`, run.id);
    } catch (err) {
      log.warn({ err, run: run.id }, 'the run cannot be received');
    }
  }
}
