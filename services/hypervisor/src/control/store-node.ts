/** Nodes of xenstore: value, owner, readers. Source: Xen docs/misc/xenstore.txt; here "n<owner>" and "r<reader>" only. */
import { DOMID_CONTROL, type DomId } from '@grantline/base';

/** Subtree as JSON; `children` only where there are some. */
export interface StoreTree {
  value: string;
  owner: number;
  readers: number[] | 'all';
  children?: Record<string, StoreTree>;
}

/** Who may read, beside the owner and the toolstack. */
export type Readers = ReadonlySet<DomId> | 'all';

/** A node with all below it. */
export interface Node {
  value: string;
  owner: DomId;
  readers: Readers;
  readonly children: Map<string, Node>;
}

export const makeNode = (owner: DomId, readers: Readers): Node => ({ value: '', owner, readers, children: new Map() });
/** @returns true when `who` may read the node */
export const mayRead = (who: DomId, n: Node): boolean =>
  who === DOMID_CONTROL || who === n.owner || n.readers === 'all' || n.readers.has(who);
/** @returns true when `who` may write the node */
export const mayWrite = (who: DomId, n: Node): boolean => who === DOMID_CONTROL || who === n.owner;
/** The deepest node that there is on the way from `from` by `names`. */
export function deepest(from: Node, names: readonly string[]): Node {
  let node = from;
  for (const name of names) {
    const next = node.children.get(name);
    if (next === undefined) break;
    node = next;
  }
  return node;
}

/** @returns true when `who` may write the node and all below it: what removing it needs */
export function allWritable(who: DomId, node: Node): boolean {
  return mayWrite(who, node) && [...node.children.values()].every((child) => allWritable(who, child));
}

/** For people to look at. */
export function asTree(node: Node): StoreTree {
  const readers = node.readers === 'all' ? ('all' as const) : [...node.readers];
  const tree: StoreTree = { value: node.value, owner: node.owner, readers };
  if (node.children.size > 0) {
    tree.children = Object.fromEntries([...node.children].map(([name, child]) => [name, asTree(child)]));
  }
  return tree;
}
