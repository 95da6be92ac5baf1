/** Who wants to hear of which path. Events are collected and handed out after the change is complete, so that a
 *  watcher never sees a half-done transaction and a caller has its reply before its own events. */
import type { DomId } from '@grantline/shared/abi/page.js';
import { StoreError, isBelow, parentOf } from './store-path.js';

interface Watch {
  readonly domid: DomId;
  /** Absolute. */
  readonly path: string;
  readonly token: string;
  /** What the watcher wrote: reported paths are relative when this is. */
  readonly asGiven: string;
  /** Paths that wait to be told to it. */
  readonly waiting: Set<string>;
  /** Too many: only its own path is told, which says that anything at or below it may have changed. */
  overflown: boolean;
}

interface Fired {
  readonly watch: Watch;
  readonly path: string;
}

export interface WatchEvent {
  readonly domid: DomId;
  readonly path: string;
  readonly token: string;
}

export class StoreWatches {
  private readonly byPath = new Map<string, Watch[]>();
  private readonly perDomain = new Map<DomId, number>();
  /** What waits for each domain, oldest first; nothing for those for whom nothing waits. */
  private readonly events = new Map<DomId, Fired[]>();
  private readonly eventLimit: number;

  /** @param eventLimit paths that may wait for each watch */
  constructor(eventLimit: number) {
    this.eventLimit = eventLimit;
  }

  /** @param limit most watches that the domain may have
   *  @throws StoreError EEXIST for the same path and token again, ENOSPC over the limit */
  add(domid: DomId, path: string, asGiven: string, token: string, limit: number): void {
    const here = this.byPath.get(path) ?? [];
    if (here.some((w) => w.domid === domid && w.token === token))
      throw new StoreError('EEXIST', `there is a watch on ${path} with this token already`);
    const count = this.perDomain.get(domid) ?? 0;
    if (count >= limit) throw new StoreError('ENOSPC', `over the quota of ${limit} watches`);
    this.perDomain.set(domid, count + 1);
    const watch: Watch = { domid, path, token, asGiven, waiting: new Set(), overflown: false };
    here.push(watch);
    this.byPath.set(path, here);
    this.push(watch, path);
  }

  /** @throws StoreError ENOENT when there is no such watch */
  remove(domid: DomId, path: string, token: string): void {
    const here = this.byPath.get(path) ?? [];
    const at = here.findIndex((w) => w.domid === domid && w.token === token);
    if (at < 0) throw new StoreError('ENOENT', `there is no watch on ${path} with this token`);
    const [gone] = here.splice(at, 1);
    this.keep(
      domid,
      (this.events.get(domid) ?? []).filter((e) => e.watch !== gone),
    );
    if (here.length === 0) this.byPath.delete(path);
    this.perDomain.set(domid, (this.perDomain.get(domid) ?? 1) - 1);
  }

  /** The domain is gone, and so is what it waited for. */
  removeAll(domid: DomId): void {
    for (const [path, here] of this.byPath) {
      const others = here.filter((w) => w.domid !== domid);
      if (others.length > 0) this.byPath.set(path, others);
      else this.byPath.delete(path);
    }
    this.perDomain.delete(domid);
    this.events.delete(domid);
  }

  count(domid: DomId): number {
    return this.perDomain.get(domid) ?? 0;
  }

  /** `path` was written, made or removed: watches on it and on what is above it fire.
   *  @param mayRead whether the watcher may read the changed node; others must not learn of it */
  changed(path: string, mayRead: (domid: DomId) => boolean): void {
    for (let at = path; ; at = parentOf(at)) {
      for (const w of this.byPath.get(at) ?? []) if (mayRead(w.domid)) this.push(w, path);
      if (at === '/') return;
    }
  }

  /** `top` was removed: watches below it fire with the path that they watch. */
  removedAbove(top: string, mayRead: (domid: DomId, path: string) => boolean): void {
    for (const [path, here] of this.byPath) {
      if (!isBelow(path, top)) continue;
      for (const w of here) if (mayRead(w.domid, path)) this.push(w, path);
    }
  }

  /** True while something waits for anybody. */
  get hasEvents(): boolean {
    return this.events.size > 0;
  }

  /** Takes what has fired, oldest first; what fires again before it was taken is one event.
   *  @param ready false: what is for that domain waits
   *  @param most events for each domain */
  take(ready: (domid: DomId) => boolean, most: number): WatchEvent[] {
    const out: WatchEvent[] = [];
    for (const [domid, queue] of this.events) {
      if (!ready(domid)) continue;
      for (const { watch, path } of queue.slice(0, most)) {
        watch.waiting.delete(path);
        watch.overflown = watch.overflown && watch.waiting.size > 0;
        out.push({ domid, path, token: watch.token });
      }
      this.keep(domid, queue.slice(most));
    }
    return out;
  }

  private push(w: Watch, path: string): void {
    const own = w.path.slice(0, w.path.length - w.asGiven.length);
    const reported = w.asGiven.startsWith('/') ? path : path.slice(own.length);
    if (w.overflown || w.waiting.has(reported)) return;
    const queue = this.events.get(w.domid) ?? [];
    if (w.waiting.size < this.eventLimit) {
      w.waiting.add(reported);
      queue.push({ watch: w, path: reported });
      return this.keep(w.domid, queue);
    }
    w.overflown = true;
    w.waiting.clear();
    w.waiting.add(w.asGiven);
    this.keep(w.domid, [...queue.filter((e) => e.watch !== w), { watch: w, path: w.asGiven }]);
  }

  private keep(domid: DomId, queue: Fired[]): void {
    if (queue.length > 0) this.events.set(domid, queue);
    else this.events.delete(domid);
  }
}
