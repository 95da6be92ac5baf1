/** Who wants to hear of which path. Events are collected and handed out after the change is complete, so that a
 *  watcher never sees a half-done transaction and a caller has its reply before its own events. WatchDelivery brings them
 *  to the domains, as fast as each reads. */
import type { DomId } from '@grantline/base';
import type { HypercallServer } from './hypercall-server.js';
import { StoreError, namesOf } from './store-node.js';

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
  /** What was queued for an earlier one is told no more. */
  epoch: number;
}

interface Fired {
  readonly watch: Watch;
  readonly path: string;
  readonly epoch: number;
}

export interface WatchEvent {
  readonly domid: DomId;
  readonly path: string;
  readonly token: string;
}

/** What waits for one domain, oldest first. What was taken back stays in the row until it is passed over, or until it is
 *  most of the row: each event is moved a bounded number of times, however long the row is. */
class Row {
  private items: Fired[] = [];
  private head = 0;
  /** Events that are to be told. */
  live = 0;

  push(watch: Watch, path: string): void {
    if (this.items.length > 64 && this.items.length > 2 * this.live) {
      this.items = this.items.slice(this.head).filter(isLive);
      this.head = 0;
    }
    this.items.push({ watch, path, epoch: watch.epoch });
    this.live++;
  }

  /** All that waits for the watch is taken back. */
  takeBack(watch: Watch): void {
    this.live -= watch.waiting.size;
    watch.waiting.clear();
    watch.epoch++;
  }

  shift(): Fired | null {
    while (this.head < this.items.length) {
      const fired = this.items[this.head++];
      if (!isLive(fired)) continue;
      this.live--;
      return fired;
    }
    return null;
  }
}

const isLive = (e: Fired): boolean => e.epoch === e.watch.epoch;

/** A name on the way to a watched path. */
interface Place {
  readonly below: Map<string, Place>;
  readonly watches: Watch[];
}

const place = (): Place => ({ below: new Map(), watches: [] });

export class StoreWatches {
  private readonly root = place();
  private readonly perDomain = new Map<DomId, Set<Watch>>();
  /** Nothing for those for whom nothing waits. */
  private readonly events = new Map<DomId, Row>();
  private readonly eventLimit: number;

  /** @param eventLimit paths that may wait for each watch */
  constructor(eventLimit: number) {
    this.eventLimit = eventLimit;
  }

  /** @param limit most watches that the domain may have
   *  @throws StoreError EEXIST for the same path and token again, ENOSPC over the limit */
  add(domid: DomId, path: string, asGiven: string, token: string, limit: number): void {
    const own = this.perDomain.get(domid) ?? new Set();
    if (this.find(domid, path, token) !== undefined)
      throw new StoreError('EEXIST', `there is a watch on ${path} with this token already`);
    if (own.size >= limit) throw new StoreError('ENOSPC', `over the quota of ${limit} watches`);
    const watch: Watch = { domid, path, token, asGiven, waiting: new Set(), overflown: false, epoch: 0 };
    this.perDomain.set(domid, own.add(watch));
    let at = this.root;
    for (const name of namesOf(path)) {
      const next = at.below.get(name) ?? place();
      at.below.set(name, next);
      at = next;
    }
    at.watches.push(watch);
    this.push(watch, path);
  }

  /** @throws StoreError ENOENT when there is no such watch */
  remove(domid: DomId, path: string, token: string): void {
    const watch = this.find(domid, path, token);
    if (watch === undefined) throw new StoreError('ENOENT', `there is no watch on ${path} with this token`);
    this.drop(watch);
  }

  /** The domain is gone, and so is what it waited for. */
  removeAll(domid: DomId): void {
    for (const watch of this.perDomain.get(domid) ?? []) this.drop(watch);
    this.perDomain.delete(domid);
    this.events.delete(domid);
  }

  count(domid: DomId): number {
    return this.perDomain.get(domid)?.size ?? 0;
  }

  /** `path` was written, made or removed: watches on it and on what is above it fire, the nearest first.
   *  @param mayRead whether the watcher may read the changed node; others must not learn of it */
  changed(path: string, mayRead: (domid: DomId) => boolean): void {
    const way = this.way(path);
    for (let i = way.length - 1; i >= 0; i--) for (const w of way[i].watches) if (mayRead(w.domid)) this.push(w, path);
  }

  /** `top` was removed: watches below it fire with the path that they watch. */
  removedAbove(top: string, mayRead: (domid: DomId, path: string) => boolean): void {
    const way = this.way(top);
    if (way.length <= namesOf(top).length) return;
    const visit = (at: Place): void => {
      for (const next of at.below.values()) {
        for (const w of next.watches) if (mayRead(w.domid, w.path)) this.push(w, w.path);
        visit(next);
      }
    };
    visit(way[way.length - 1]);
  }

  /** True while something waits for anybody. */
  get hasEvents(): boolean {
    return this.events.size > 0;
  }

  /** Takes what has fired, oldest first, to be delivered once the caller has its reply; what fires again before it was taken is
   *  one event.
   *  @param ready false: what is for that domain waits; each path once, however often it changes meanwhile
   *  @param most events for each domain */
  take(ready: (domid: DomId) => boolean = () => true, most = Infinity): WatchEvent[] {
    const out: WatchEvent[] = [];
    for (const [domid, row] of this.events) {
      if (!ready(domid)) continue;
      for (let i = 0; i < most; i++) {
        const fired = row.shift();
        if (fired === null) break;
        const { watch, path } = fired;
        watch.waiting.delete(path);
        watch.overflown = watch.overflown && watch.waiting.size > 0;
        out.push({ domid, path, token: watch.token });
      }
      if (row.live === 0) this.events.delete(domid);
    }
    return out;
  }

  private find(domid: DomId, path: string, token: string): Watch | undefined {
    for (const w of this.perDomain.get(domid) ?? []) if (w.path === path && w.token === token) return w;
    return undefined;
  }

  /** The places from the root to the path, as far as there are any. */
  private way(path: string): Place[] {
    const way = [this.root];
    let at = this.root;
    // Names are cut off one by one: a long path below which nothing is watched is not looked at to its end.
    for (let from = 1; from < path.length;) {
      const slash = path.indexOf('/', from);
      const end = slash < 0 ? path.length : slash;
      const next = at.below.get(path.slice(from, end));
      if (next === undefined) break;
      way.push(next);
      at = next;
      from = end + 1;
    }
    return way;
  }

  private drop(watch: Watch): void {
    this.perDomain.get(watch.domid)?.delete(watch);
    const way = this.way(watch.path);
    const names = namesOf(watch.path);
    const here = way[names.length].watches;
    here.splice(here.indexOf(watch), 1);
    for (let i = names.length; i > 0 && way[i].watches.length === 0 && way[i].below.size === 0; i--)
      way[i - 1].below.delete(names[i - 1]);
    const row = this.events.get(watch.domid);
    if (row === undefined) return;
    row.takeBack(watch);
    if (row.live === 0) this.events.delete(watch.domid);
  }

  private push(w: Watch, path: string): void {
    const own = w.path.slice(0, w.path.length - w.asGiven.length);
    let reported = w.asGiven.startsWith('/') ? path : path.slice(own.length);
    if (w.overflown || w.waiting.has(reported)) return;
    const row = this.events.get(w.domid) ?? new Row();
    this.events.set(w.domid, row);
    if (w.waiting.size >= this.eventLimit) {
      row.takeBack(w);
      w.overflown = true;
      reported = w.asGiven;
    }
    w.waiting.add(reported);
    row.push(w, reported);
  }
}

/** Events for one domain between two looks at whether it keeps up, and the pause when it does not. */
const EVENTS_AT_ONCE = 64;
const AGAIN_MS = 5;

/** Brings watch events to the domains that watch. What a domain is too slow for waits, each path once: a guest that changes its
 *  nodes must not be able to have a domain cut off that watches them. */
export class WatchDelivery {
  private readonly watches: StoreWatches;
  private readonly server: Pick<HypercallServer, 'send' | 'keepsUp'>;
  private timer: NodeJS.Timeout | null = null;
  private next: NodeJS.Immediate | null = null;

  constructor(watches: StoreWatches, server: WatchDelivery['server']) {
    this.watches = watches;
    this.server = server;
  }

  /** Delivers what has fired; what has to wait is delivered later. */
  run(): void {
    const { watches, server } = this;
    const events = watches.take((domid) => server.keepsUp(domid), EVENTS_AT_ONCE);
    for (const { domid, path, token } of events) server.send(domid, 'xs.watch', { path, token });
    if (!watches.hasEvents || this.timer !== null) return;
    // Requests come in between: nobody waits for all that one domain has to be told.
    if (events.length > 0) {
      this.next ??= setImmediate(() => {
        this.next = null;
        this.run();
      });
      return;
    }
    this.timer = setTimeout(() => {
      this.timer = null;
      this.run();
    }, AGAIN_MS);
  }

  stop(): void {
    if (this.timer !== null) clearTimeout(this.timer);
    if (this.next !== null) clearImmediate(this.next);
  }
}
