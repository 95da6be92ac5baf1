/** The page with the list of grants that a control request is about. It is the guest's, who may write it at any time: it is read
 *  once, and only statuses are written. docs/wire/grant-pool.md. */
import { GREF_LIST_ENTRY_BYTES, GREF_LIST_READONLY, GREF_LIST_STATUS } from '@grantline/xen';
import type { Mem } from '@grantline/machine';

const WORDS = GREF_LIST_ENTRY_BYTES >> 2;

export class PoolList {
  /** Copies of the entries. */
  readonly grefs: readonly number[];
  /** All are read-only: for sending; none is: for receiving. null: some are. */
  readonly readonly: boolean | null;
  private readonly u16: Uint16Array;
  private readonly at: number;

  /** @param at byte offset of the mapped page @param count entries, at least 1 */
  constructor(mem: Mem, at: number, count: number) {
    this.u16 = mem.u16;
    this.at = at;
    const words = mem.u32.slice(at >> 2, (at >> 2) + count * WORDS);
    this.grefs = Array.from({ length: count }, (_, i) => words[i * WORDS]);
    const flags = this.grefs.map((_, i) => (words[i * WORDS + 1] & GREF_LIST_READONLY) !== 0);
    this.readonly = flags.every((f) => f === flags[0]) ? flags[0] : null;
  }

  /** @param status CTRL_STATUS_* */
  answer(i: number, status: number): void {
    this.u16[(this.at + i * GREF_LIST_ENTRY_BYTES + GREF_LIST_STATUS) >> 1] = status;
  }
}
