/** What a service is made of: parts that say themselves what the service has to do with them, each in one place.
 *
 *  All order follows from the order in which they are added: pollers run in it, dumps and readings show it, and parts end in
 *  reverse. A part that feeds another stands before it, and one whose end needs another's stands behind that one. */
import type { DataLoop, LoopHooks, Poller } from '@grantline/machine';
import type { Reading } from '@grantline/observe';
import type { Lifeline } from './lifeline.js';

type Stop = () => void | Promise<void>;

/** All of it may be left out. Deadlines, sockets and whose the time between turns is: LoopHooks. */
export interface Part extends LoopHooks {
  poller?: Poller;
  /** Takes what the poller throws: see DataLoop.add. */
  onFault?: (err: unknown) => void;
  /** What GET /dump shows of it, by the names that it has there; called when asked. */
  dump?: Readonly<Record<string, () => unknown>>;
  /** What /metrics shows besides the counters; read at each scrape. */
  gauges?: () => Iterable<Reading>;
  /** Is it ready? A text: why it is not. */
  ready?: () => boolean | string;
  /** Ends it, and gives back what it took. */
  stop?: Stop;
}

export class Parts {
  private readonly loop: Pick<DataLoop, 'add' | 'remove' | 'addHooks' | 'removeHooks'>;
  private readonly lifeline: Pick<Lifeline, 'onStop' | 'forget'>;
  /** In the order in which they were added, each with the step that ends it. */
  private readonly parts = new Map<Part, Stop>();

  constructor(loop: Parts['loop'], lifeline: Parts['lifeline']) {
    this.loop = loop;
    this.lifeline = lifeline;
  }

  add(part: Part): void {
    const stop: Stop = () => part.stop?.();
    this.parts.set(part, stop);
    if (part.poller !== undefined) this.loop.add(part.poller, part.onFault);
    this.loop.addHooks(part);
    if (part.stop !== undefined) this.lifeline.onStop(stop);
  }

  /** It is neither polled nor shown any more, and ended. One that is not there, or is being ended with the service, is left alone. */
  async remove(part: Part): Promise<void> {
    const stop = this.parts.get(part);
    if (stop === undefined) return;
    this.parts.delete(part);
    this.loop.removeHooks(part);
    if (part.poller !== undefined) this.loop.remove(part.poller);
    if (this.lifeline.forget(stop)) await stop();
  }

  dump(): Record<string, unknown> {
    const shown: Record<string, unknown> = {};
    for (const { dump = {} } of this.parts.keys()) for (const [name, of] of Object.entries(dump)) shown[name] = of();
    return shown;
  }

  *readings(): Generator<Reading> {
    for (const part of this.parts.keys()) if (part.gauges !== undefined) yield* part.gauges();
  }

  /** @returns what the first part says that is not ready */
  ready(): boolean | string {
    for (const part of this.parts.keys()) {
      const ready = part.ready?.() ?? true;
      if (ready !== true) return ready;
    }
    return true;
  }
}
