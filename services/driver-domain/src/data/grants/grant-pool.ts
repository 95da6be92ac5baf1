/** The grants of one guest queue that stay active: gref to what the data path needs of it. docs/wire/grant-pool.md.
 *
 *  The guest adds and removes entries over the control ring (control/pool-control.ts); the data path only looks up. A
 *  queue that the NIC feeds needs a page's DMA number, one that the bridge feeds needs the page in its window. */
import { GRANT_ENTRIES, GRANT_RESERVED_ENTRIES, GREF_LIST_MAX } from '@grantline/xen';

/** Grants that one vif may keep active. */
export const POOL_CAP = GREF_LIST_MAX;

/** A queue that has requests of the guest under way; asked only when an entry is to be removed. */
export interface PoolUser {
  /** Sets marks[gref] for each gref that is posted on the NIC or otherwise in use. */
  markInUse(marks: Uint8Array): void;
}

export class GrantPool {
  /** By gref: page number as the NIC sees it; 0 when the NIC may not use it. */
  readonly dpn = new Int32Array(GRANT_ENTRIES);
  /** By gref: byte offset of the page in this process; -1 when it is not mapped. */
  readonly at = new Int32Array(GRANT_ENTRIES).fill(-1);
  /** By gref: handle of the mapping; -1 when the gref is not in the pool. */
  private readonly handles = new Float64Array(GRANT_ENTRIES).fill(-1);
  private readonly marks = new Uint8Array(GRANT_ENTRIES);
  private readonly users: PoolUser[] = [];
  private used = 0;

  get count(): number {
    return this.used;
  }

  /** Entries that may still be added. */
  get room(): number {
    return POOL_CAP - this.used;
  }

  addUser(user: PoolUser): void {
    this.users.push(user);
  }

  /** @returns true when the number can be a gref at all */
  static isGref(gref: number): boolean {
    return gref >= GRANT_RESERVED_ENTRIES && gref < GRANT_ENTRIES;
  }

  has(gref: number): boolean {
    return GrantPool.isGref(gref) && this.handles[gref] >= 0;
  }

  /** From now on the data path uses the entry.
   *  @param dpn 0 when not pinned for the NIC
   *  @param at -1 when not mapped */
  add(gref: number, handle: number, dpn: number, at: number): void {
    this.used++;
    this.handles[gref] = handle;
    this.dpn[gref] = dpn;
    this.at[gref] = at;
  }

  /** Takes an entry out of the data path's sight. @returns its handle, to be unmapped now */
  remove(gref: number): number {
    const handle = this.handles[gref];
    this.used--;
    this.handles[gref] = -1;
    this.dpn[gref] = 0;
    this.at[gref] = -1;
    return handle;
  }

  /** Looks which grefs are in use; valid until the data path runs again. */
  inUse(): Uint8Array {
    this.marks.fill(0);
    for (const user of this.users) user.markInUse(this.marks);
    return this.marks;
  }

  /** All grefs in the pool, for release and dumps. */
  grefs(): number[] {
    const out: number[] = [];
    for (let gref = 0; gref < GRANT_ENTRIES; gref++) if (this.handles[gref] >= 0) out.push(gref);
    return out;
  }
}
