/** Brings watch events to the domains that watch. What a domain is too slow for waits, each path once: a guest that changes its
 *  nodes must not be able to have a domain cut off that watches them. */
import type { HypercallServer } from './hypercall-server.js';
import type { XenStore } from './xenstore.js';

/** Events for one domain between two looks at whether it keeps up, and the pause when it does not. */
const EVENTS_AT_ONCE = 64;
const AGAIN_MS = 5;

export class WatchDelivery {
  private readonly store: XenStore;
  private readonly server: Pick<HypercallServer, 'send' | 'keepsUp'>;
  private timer: NodeJS.Timeout | null = null;
  private next: NodeJS.Immediate | null = null;

  constructor(store: XenStore, server: WatchDelivery['server']) {
    this.store = store;
    this.server = server;
  }

  /** Delivers what has fired; what has to wait is delivered later. */
  run(): void {
    const { store, server } = this;
    const events = store.takeEvents((domid) => server.keepsUp(domid), EVENTS_AT_ONCE);
    for (const { domid, path, token } of events) server.send(domid, 'xs.watch', { path, token });
    if (!store.hasEvents || this.timer !== null) return;
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
