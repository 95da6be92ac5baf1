/** What xenstore's tree is made of: paths, quotas, nodes with value, owner and readers. Source: Xen docs/misc/xenstore.txt: character
 *  set, lengths, relative paths; of its permissions here "n<owner>" and "r<reader>" only. */
import { DOMID_CONTROL, DOMID_DRIVER, type DomId } from '@grantline/base';
import { domainPath } from '@grantline/xen';

const CHARSET = /^[A-Za-z0-9\-/_@]+$/;
const ABSOLUTE_MAX = 3072;
const RELATIVE_MAX = 2048;

type StoreErrorCode = 'ENOENT' | 'EACCES' | 'EINVAL' | 'ENOSPC' | 'E2BIG' | 'EEXIST';

/** What the store answers when it refuses; the code is an errno name, as on Xen's wire. */
export class StoreError extends Error {
  readonly code: StoreErrorCode;
  constructor(code: StoreErrorCode, message: string) {
    super(message);
    this.code = code;
  }
}

/** Makes a path absolute: a relative one is under the caller's own /local/domain/<caller>.
 *  @throws StoreError EINVAL for a bad character, a double or trailing slash, or a path that is too long */
export function resolvePath(caller: DomId, path: string): string {
  const relative = !path.startsWith('/');
  if (path.length > (relative ? RELATIVE_MAX : ABSOLUTE_MAX)) throw new StoreError('EINVAL', 'the path is too long');
  if (path === '/') return path;
  if (!CHARSET.test(path) || path.endsWith('/') || path.includes('//') || path.startsWith('@'))
    throw new StoreError('EINVAL', `not a store path: ${path.slice(0, 80)}`);
  return relative ? `${domainPath(caller)}/${path}` : path;
}

/** The names on the way from the root. */
export const namesOf = (path: string): string[] => (path === '/' ? [] : path.slice(1).split('/'));

/** The path one level up; the root is its own parent. */
export const parentOf = (path: string): string => path.slice(0, Math.max(1, path.lastIndexOf('/')));

// What each domain may have: the toolstack trusts nobody with its memory. docs/wire/xenstore-paths.md.

/** Nodes that a guest, or the nic, may own; a driver domain has some twenty for each guest. */
export const QUOTA_NODES = 1000;
export const QUOTA_DRIVER_NODES = 4000;
/** Bytes in a value, for every domain but the toolstack. */
export const QUOTA_VALUE_BYTES = 2048;
/** Watches that a guest, or the nic, may have; a driver domain has two for each guest. */
export const QUOTA_WATCHES = 128;
export const QUOTA_DRIVER_WATCHES = 512;
/** Paths that may wait to be told to one watch, of whomever; more than one guest's nodes, and than all nodes of all vifs. */
export const QUOTA_EVENTS = 1024;

interface Quota {
  readonly nodes: number;
  readonly watches: number;
}

/** What a domain may have at most. */
export function quotaOf(who: DomId): Quota {
  if (who === DOMID_CONTROL) return { nodes: Infinity, watches: Infinity };
  if (who === DOMID_DRIVER) return { nodes: QUOTA_DRIVER_NODES, watches: QUOTA_DRIVER_WATCHES };
  return { nodes: QUOTA_NODES, watches: QUOTA_WATCHES };
}

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
