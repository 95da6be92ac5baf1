/** Grant operations of the transmit path in batches, as the data path sees them: see grant-calls.ts. */
import type { GrantBatch } from './grant-calls.js';

/** Copies from a guest's granted pages into the driver domain's own. */
export interface HeadBatch extends GrantBatch {
  put(gref: number, grefOffset: number, pfn: number, offset: number, len: number): void;
}

/** Maps a guest's pages for reading, here and for the NIC. */
export interface MapBatch extends GrantBatch {
  /** @param at byte offset where it will be mapped */
  put(gref: number, at: number): void;
  handle(i: number): number;
  dpn(i: number): number;
  pfn(i: number): number;
}

/** Undoes both halves of such a mapping. */
export interface UnmapBatch extends GrantBatch {
  put(handle: number, dpn: number, at: number): void;
}

export interface TxCalls {
  headBatch(capacity: number, replied: () => void): HeadBatch;
  mapBatch(capacity: number, replied: () => void): MapBatch;
  unmapBatch(capacity: number, replied: () => void): UnmapBatch;
}

/** Where pages are mapped; GrantWindow for one guest. */
export interface TxWindow {
  /** @returns a place for a page, or -1 */
  take(): number;
  /** @returns false when the system did not let us have the page */
  map(at: number, pfn: number): boolean;
  /** Makes the page inaccessible and gives the place back. */
  unmap(at: number): void;
}
