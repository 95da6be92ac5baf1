/** What each domain may have in xenstore: the toolstack trusts nobody with its memory. docs/wire/xenstore-paths.md. */
import { DOMID_CONTROL, DOMID_DRIVER, type DomId } from '@grantline/base';

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

export interface Quota {
  readonly nodes: number;
  readonly watches: number;
}

/** What a domain may have at most. */
export function quotaOf(who: DomId): Quota {
  if (who === DOMID_CONTROL) return { nodes: Infinity, watches: Infinity };
  if (who === DOMID_DRIVER) return { nodes: QUOTA_DRIVER_NODES, watches: QUOTA_DRIVER_WATCHES };
  return { nodes: QUOTA_NODES, watches: QUOTA_WATCHES };
}
