/** Who looks at a testbed while it runs: the benchmark shows what each of them costs. */
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { WebSocket } from 'ws';
import { RunError } from '../base/errors.js';
import { LivePage } from '../live/live-page.js';
import { callBytes } from '../base/http.js';
import type { Bed } from '../runner/bed.js';

/** Looking at a testbed, under way. */
export interface Watching {
  /** Ends it. @returns how often it has looked, all services together. @throws what went wrong meanwhile */
  stop(): Promise<number>;
}

export interface Watcher {
  /** As it stands in the table. */
  name: string;
  /** What is there all the time, looked at or not. @returns its end */
  prepare?(bed: Bed): Promise<() => Promise<void>>;
  start(bed: Bed): Promise<Watching> | Watching;
  /** Looks per second that it must have made at least, or its figure says nothing. */
  leastPerSecond(bed: Bed): number;
}

const SCRAPE_MS = 1000;

/** Prometheus, as it is set up here: the metrics of all services each second. */
const metrics: Watcher = {
  name: 'metrics',
  leastPerSecond: (bed) => bed.services.length * 0.5,
  start(bed) {
    let over = false;
    let looks = 0;
    const one = async (name: string, http: string): Promise<void> => {
      const page = await callBytes(name, http, '/metrics');
      if (!page.includes('# TYPE grantline_build_info gauge')) throw new RunError(`${name} shows no metrics`);
      looks++;
    };
    const end = new AbortController();
    const work = (async () => {
      while (!over) {
        const due = performance.now() + SCRAPE_MS;
        await Promise.all(bed.services.map((s) => one(s.name, s.http)));
        await sleep(Math.max(0, due - performance.now()), undefined, { signal: end.signal }).catch(() => {});
      }
    })();
    work.catch(() => {});
    return {
      async stop() {
        over = true;
        end.abort();
        await work;
        return looks;
      },
    };
  },
};

/** The live page with one browser's connection, as `npm start` has it: in this process. What the browser itself takes to draw
 *  is not in it. */
class PageWatcher implements Watcher {
  readonly name = 'live page';
  private url = '';

  async prepare(bed: Bed): Promise<() => Promise<void>> {
    const { dir } = await bed.client.testbed();
    const live = await LivePage.open({ listen: { host: '127.0.0.1', port: 0 }, mode: 'compare', dir });
    live.attach({ client: bed.client, token: '', keeper: null });
    // As in a comparison: while it measures the page leaves the hypervisor alone but for every five seconds.
    await live.observer.phase({
      ...{ run: 'bench', config: 'optimised', round: 0, phase: 'measure' },
      ...{ frameBytes: 1514, guests: 1, linkGbps: null },
    });
    this.url = live.url;
    return () => live.close('the benchmark has ended');
  }

  async start(): Promise<Watching> {
    const socket = new WebSocket(new URL('/live', this.url.replace('http', 'ws')), {
      origin: new URL(this.url).origin,
    });
    let looks = 0;
    socket.on('message', (data: Buffer) => {
      if (data.includes('"sample"')) looks++;
    });
    await once(socket, 'open');
    return {
      stop() {
        socket.terminate();
        return Promise.resolve(looks);
      },
    };
  }

  leastPerSecond(): number {
    return 0.5;
  }
}

/** All that there are. Each must be able to run beside the others. */
export const WATCHERS: readonly Watcher[] = [metrics, new PageWatcher()];
