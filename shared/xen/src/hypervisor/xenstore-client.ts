/** xenstore: the small tree of strings through which domains find each other. Sources: Xen docs/misc/xenstore.txt,
 *  public/io/xs_wire.h; here over the hypervisor socket. What a peer wrote is hostile: judge it before use. */
import { type HypervisorPort, HypervisorError } from './hypervisor-port.js';

/** One step of a transaction. */
export type XenstoreOp =
  { op: 'write'; path: string; value: string } | { op: 'rm'; path: string } | { op: 'mkdir'; path: string };

/** What this needs of the client. */
export type XenstoreTransport = Pick<HypervisorPort, 'request' | 'onEvent'>;

export class XenstoreClient {
  private readonly client: XenstoreTransport;
  private readonly watches = new Map<string, (path: string) => void>();
  private nextToken = 1;

  constructor(client: XenstoreTransport) {
    this.client = client;
    client.onEvent<{ path: string; token: string }>('xs.watch', (e) => this.watches.get(e.token)?.(e.path));
  }

  /** @returns the value, or null when there is no such node */
  async read(path: string): Promise<string | null> {
    const r = await orNull(this.client.request<{ value: string }>('xs.read', { path }));
    return r === null ? null : String(r.value);
  }

  /** A whole number of at most nine digits, or null when there is none, or something else. */
  async readNumber(path: string): Promise<number | null> {
    return parseNumber(await this.read(path));
  }

  async write(path: string, value: string | number): Promise<void> {
    await this.client.request('xs.write', { path, value: String(value) });
  }

  async mkdir(path: string): Promise<void> {
    await this.client.request('xs.mkdir', { path });
  }

  /** Removes a node and all below it; one that is not there is fine. */
  async rm(path: string): Promise<void> {
    await orNull(this.client.request('xs.rm', { path }));
  }

  /** Names of the nodes below, or none when there is no such node. */
  async directory(path: string): Promise<string[]> {
    const r = await orNull(this.client.request<{ entries: string[] }>('xs.directory', { path }));
    return r === null ? [] : r.entries;
  }

  /** All or none; watches fire once, afterwards. */
  async transaction(ops: readonly XenstoreOp[]): Promise<void> {
    await this.client.request('xs.transaction', { ops });
  }

  /** Calls `fn` once soon, and then at each change at or below `path`, with the path that changed.
   *  @returns what ends the watch: from the call on `fn` is not called any more */
  async watch(path: string, fn: (path: string) => void): Promise<() => Promise<void>> {
    const token = `w${this.nextToken++}`;
    this.watches.set(token, fn);
    try {
      await this.client.request('xs.watch', { path, token });
    } catch (err) {
      this.watches.delete(token);
      throw err;
    }
    return async () => {
      if (!this.watches.delete(token)) return;
      await orNull(this.client.request('xs.unwatch', { path, token }));
    };
  }

  /** Waits until the value at `path` (null: none) satisfies `ok`. @returns that value
   *  @throws Error naming the path after `timeoutMs` */
  async waitFor(path: string, ok: (value: string | null) => boolean, timeoutMs: number): Promise<string | null> {
    let unwatch: (() => Promise<void>) | null = null;
    let timer: NodeJS.Timeout | undefined;
    let last: string | null = null;
    try {
      return await new Promise<string | null>((resolve, reject) => {
        timer = setTimeout(() => reject(new Error(`${path} did not get there in ${timeoutMs} ms: ${last}`)), timeoutMs);
        const look = (): void => {
          this.read(path).then((value) => {
            last = value;
            if (ok(value)) resolve(value);
          }, reject);
        };
        this.watch(path, look).then((end) => (unwatch = end), reject);
      });
    } finally {
      clearTimeout(timer);
      await (unwatch as (() => Promise<void>) | null)?.();
    }
  }
}

/** A whole number of at most nine digits; null for everything else, which a peer may have written. */
export function parseNumber(value: string | null): number | null {
  return value !== null && /^[0-9]{1,9}$/.test(value) ? Number(value) : null;
}

async function orNull<T>(request: Promise<T>): Promise<T | null> {
  try {
    return await request;
  } catch (err) {
    if (err instanceof HypervisorError && err.code === 'ENOENT') return null;
    throw err;
  }
}
