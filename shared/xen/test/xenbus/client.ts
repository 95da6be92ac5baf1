/** A domain's connection to a hypervisor that a test moves by hand, message by message. Not a test itself. */
import type { XenstoreOp } from '../../src/hypervisor/xenstore-client.js';

/** The hypervisor's side. */
export interface StoreOfAll {
  readonly nodes: Map<string, string>;
  put(values: Record<string, string>): void;
  apply(ops: readonly XenstoreOp[]): void;
}

/** A domain's socket: requests are answered in order, replies and events arrive in order. */
export class Client {
  readonly requests: (() => void)[] = [];
  readonly arriving: (() => void)[] = [];
  dead = false;
  readonly watches: { path: string; fn: () => void }[] = [];
  private readonly world: StoreOfAll;

  constructor(world: StoreOfAll) {
    this.world = world;
  }

  /** Something that takes a message to the hypervisor and one back. */
  ask<T>(work: () => T): Promise<T> {
    return new Promise((resolve, reject) => {
      this.requests.push(() => {
        let reply: () => void;
        try {
          const value = work();
          reply = () => resolve(value);
        } catch (err) {
          const refusal = err instanceof Error ? err : new Error(String(err));
          reply = () => reject(refusal);
        }
        this.arriving.push(reply);
      });
    });
  }

  readonly store = {
    read: (path: string) => this.ask(() => this.world.nodes.get(path) ?? null),
    write: (path: string, value: string | number) => this.ask(() => this.world.put({ [path]: String(value) })),
    transaction: (ops: readonly XenstoreOp[]) => this.ask(() => this.world.apply(ops)),
  };

  watch(path: string, fn: () => void): void {
    this.watches.push({ path, fn });
    this.arriving.push(fn);
  }
}
