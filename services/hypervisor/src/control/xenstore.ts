/** xenstore: the tree in which front and back find each other. Pure and synchronous: no socket, no clock.
 *
 *  Each node has an owner and readers (Xen: "n<owner>", "r<reader>"). The owner and the toolstack may do all. A new node
 *  takes the readers of its parent; its owner is the domain that makes it. So what the toolstack writes into a guest's directory
 *  (mac, ip) stays the toolstack's, although the directory is the guest's.
 *  Source: docs/misc/xenstore.txt; docs/wire/xenstore-paths.md has our paths. */
import { DOMID_CONTROL, type DomId } from '@grantline/base';
import {
  allWritable,
  asTree,
  deepest,
  makeNode,
  mayRead,
  mayWrite,
  type Node,
  type Readers,
  type StoreTree,
  QUOTA_EVENTS,
  QUOTA_VALUE_BYTES,
  quotaOf,
  StoreError,
  namesOf,
  parentOf,
  resolvePath,
} from './store-node.js';
import { StoreWatches } from './store-watches.js';

export interface StoreOp {
  readonly op: 'write' | 'rm' | 'mkdir';
  readonly path: string;
  readonly value?: string;
}

/** A change, for the watches; `gone` is what was cut off. */
interface Change {
  readonly path: string;
  readonly gone: Node | null;
}

export class XenStore {
  private readonly root = makeNode(DOMID_CONTROL, 'all');
  /** Who watches, and what has fired and is to be delivered. */
  readonly watches = new StoreWatches(QUOTA_EVENTS);
  private readonly owned = new Map<DomId, number>();
  private undo: (() => void)[] = [];
  private changes: Change[] = [];

  /** @throws StoreError ENOENT, EACCES, EINVAL */
  read(caller: DomId, path: string): string {
    return this.readable(caller, resolvePath(caller, path)).value;
  }

  /** Names of the children, sorted. @throws StoreError ENOENT, EACCES, EINVAL */
  directory(caller: DomId, path: string): string[] {
    return [...this.readable(caller, resolvePath(caller, path)).children.keys()].sort();
  }

  /** Missing parents are made, with empty values. @throws StoreError EACCES, EINVAL, ENOSPC, E2BIG */
  write(caller: DomId, path: string, value: string): void {
    this.transaction(caller, [{ op: 'write', path, value }]);
  }

  /** An existing node stays as it is. @throws StoreError as write */
  mkdir(caller: DomId, path: string): void {
    this.transaction(caller, [{ op: 'mkdir', path }]);
  }

  /** Removes a node with all below it; a missing one is fine when its parent is there.
   *  @throws StoreError ENOENT, EINVAL; EACCES also when anything below is not the caller's */
  rm(caller: DomId, path: string): void {
    this.transaction(caller, [{ op: 'rm', path }]);
  }

  /** All of the operations or none; watches fire after the last. @throws StoreError of the first that fails */
  transaction(caller: DomId, ops: readonly StoreOp[]): void {
    this.undo = [];
    this.changes = [];
    try {
      for (const op of ops) this.apply(caller, op);
    } catch (error) {
      for (const back of this.undo.reverse()) back();
      throw error;
    }
    for (const change of this.changes) this.fire(change);
  }

  /** Fires once at once, also for a path that is not there. @throws StoreError EINVAL, EEXIST, ENOSPC */
  watch(caller: DomId, path: string, token: string): void {
    this.watches.add(caller, resolvePath(caller, path), path, token, quotaOf(caller).watches);
  }

  /** @throws StoreError ENOENT, EINVAL */
  unwatch(caller: DomId, path: string, token: string): void {
    this.watches.remove(caller, resolvePath(caller, path), token);
  }

  /** The toolstack's: makes the node if need be and says whose it is. What is made below it later takes its readers. */
  own(path: string, owner: DomId, readers: readonly DomId[] | 'all', value?: string): void {
    if (value === undefined) this.mkdir(DOMID_CONTROL, path);
    else this.write(DOMID_CONTROL, path, value);
    const node = this.find(path);
    if (node === null) return;
    this.count(node.owner, -1);
    node.owner = owner;
    node.readers = readers === 'all' ? 'all' : new Set(readers);
    this.count(node.owner, 1);
  }

  /** For inspection by the operator. @returns null when there is no such node */
  subtree(path: string): StoreTree | null {
    const node = this.find(resolvePath(DOMID_CONTROL, path));
    return node === null ? null : asTree(node);
  }

  /** The value or null: for the toolstack, which asks about nodes that may not be there yet. */
  peek(path: string): string | null {
    return this.find(path)?.value ?? null;
  }

  nodesOwnedBy(domid: DomId): number {
    return this.owned.get(domid) ?? 0;
  }

  private apply(caller: DomId, op: StoreOp): void {
    const path = resolvePath(caller, op.path);
    if (op.op === 'rm') return this.remove(caller, path);
    const value = op.op === 'write' ? (op.value ?? '') : null;
    if (value !== null && caller !== DOMID_CONTROL && Buffer.byteLength(value) > QUOTA_VALUE_BYTES)
      throw new StoreError('E2BIG', `a value has at most ${QUOTA_VALUE_BYTES} bytes`);
    const existing = this.find(path);
    if (existing !== null) {
      if (!mayWrite(caller, existing)) throw new StoreError('EACCES', `${path} is not writable for domain ${caller}`);
      if (value === null) return;
      const before = existing.value;
      this.undo.push(() => (existing.value = before));
      existing.value = value;
    } else {
      this.create(caller, path).value = value ?? '';
    }
    this.changes.push({ path, gone: null });
  }

  private create(caller: DomId, path: string): Node {
    const names = namesOf(path);
    let parent = this.root;
    let depth = 0;
    for (let next; (next = parent.children.get(names[depth])) !== undefined; depth++) parent = next;
    if (!mayWrite(caller, parent)) throw new StoreError('EACCES', `${path} is not writable for domain ${caller}`);
    const { nodes } = quotaOf(caller);
    if (this.nodesOwnedBy(caller) + names.length - depth > nodes)
      throw new StoreError('ENOSPC', `over the quota of ${nodes} nodes`);
    const top = parent;
    const topName = names[depth];
    this.undo.push(() => {
      this.countTree(top.children.get(topName)!, -1);
      top.children.delete(topName);
    });
    for (; depth < names.length; depth++) {
      // The owner of the directory must be able to read what others (the toolstack) put there.
      const readers: Readers =
        parent.readers === 'all' || parent.owner === caller
          ? parent.readers
          : new Set([...parent.readers, parent.owner]);
      const node = makeNode(caller, readers);
      parent.children.set(names[depth], node);
      this.count(caller, 1);
      parent = node;
    }
    return parent;
  }

  private remove(caller: DomId, path: string): void {
    if (path === '/') throw new StoreError('EINVAL', 'the root cannot be removed');
    const parent = this.find(parentOf(path));
    const name = path.slice(path.lastIndexOf('/') + 1);
    const node = parent?.children.get(name);
    if (parent === null || node === undefined) {
      if (parent !== null && mayWrite(caller, parent)) return;
      throw this.missing(caller, path);
    }
    if (!allWritable(caller, node)) throw new StoreError('EACCES', `${path} is not removable for domain ${caller}`);
    parent.children.delete(name);
    this.countTree(node, -1);
    this.undo.push(() => {
      parent.children.set(name, node);
      this.countTree(node, 1);
    });
    this.changes.push({ path, gone: node });
  }

  private fire({ path, gone }: Change): void {
    const node = gone ?? this.find(path) ?? this.nearest(path);
    this.watches.changed(path, (who) => mayRead(who, node));
    if (gone === null) return;
    this.watches.removedAbove(path, (who, watched) => {
      return mayRead(who, deepest(gone, namesOf(watched).slice(namesOf(path).length)));
    });
  }

  private readable(caller: DomId, path: string): Node {
    const node = this.find(path);
    if (node === null) throw this.missing(caller, path);
    if (!mayRead(caller, node)) throw new StoreError('EACCES', `${path} is not readable for domain ${caller}`);
    return node;
  }

  /** Whether a node is there is told only to those who may read where it would be. */
  private missing(caller: DomId, path: string): StoreError {
    if (mayRead(caller, this.nearest(path))) return new StoreError('ENOENT', `there is no ${path}`);
    return new StoreError('EACCES', `${path} is not readable for domain ${caller}`);
  }

  private find(path: string): Node | null {
    let node: Node | undefined = this.root;
    for (const name of namesOf(path)) if ((node = node.children.get(name)) === undefined) return null;
    return node;
  }

  /** The deepest node that there is on the way to `path`. */
  private nearest(path: string): Node {
    return deepest(this.root, namesOf(path));
  }

  private count(owner: DomId, by: number): void {
    this.owned.set(owner, (this.owned.get(owner) ?? 0) + by);
  }

  private countTree(node: Node, by: number): void {
    this.count(node.owner, by);
    for (const child of node.children.values()) this.countTree(child, by);
  }
}
