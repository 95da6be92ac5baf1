/** The driver domain's own pages: which are free, and which the NIC may use. */
import {
  DMA_WRITE,
  GRANT_TABLE_PAGES,
  HYPERCALL_MAX_COUNT,
  DmaMapBatch,
  DmaUnmapBatch,
  type HypercallPort,
} from '@grantline/xen';
import { PAGE_SIZE, type Pfn } from '@grantline/base';
import type { Mem } from '@grantline/machine';

export class Pages {
  private readonly mem: Mem;
  private readonly base: number;
  private readonly taken: Uint8Array;

  /** @param base byte offset of the domain's memory
   *  @param pages size of the domain's memory */
  constructor(mem: Mem, base: number, pages: number) {
    this.mem = mem;
    this.base = base;
    this.taken = new Uint8Array(pages).fill(1, 0, GRANT_TABLE_PAGES);
  }

  get free(): number {
    return this.taken.reduce((n, t) => n + (t === 0 ? 1 : 0), 0);
  }

  /** Takes pages that lie side by side, zeroed. @throws RangeError when there is no such run */
  alloc(count: number): Pfn {
    let run = 0;
    for (let pfn = 0; pfn < this.taken.length; pfn++) {
      run = this.taken[pfn] === 0 ? run + 1 : 0;
      if (run < count) continue;
      const first = pfn - count + 1;
      this.taken.fill(1, first, pfn + 1);
      this.mem.u8.fill(0, this.offset(first), this.offset(first) + count * PAGE_SIZE);
      return first as Pfn;
    }
    throw new RangeError(`no ${count} pages side by side are free`);
  }

  /** Gives pages back; the NIC must not be able to reach them any more. */
  release(first: Pfn, count: number): void {
    this.taken.fill(0, first, first + count);
  }

  /** @returns byte offset of a page */
  offset(pfn: number): number {
    return this.base + pfn * PAGE_SIZE;
  }
}

/** Puts own pages into the DMA table, for the NIC to write. @param flags 0: only to read. @returns their numbers there, in order
 *  @throws Error when the hypervisor refuses one; then none stays */
export async function dmaMap(
  client: HypercallPort,
  first: Pfn,
  count: number,
  flags = DMA_WRITE,
): Promise<Uint32Array> {
  const dpn = new Uint32Array(count);
  let done = 0;
  while (done < count) {
    const batch = new DmaMapBatch(client, Math.min(count - done, HYPERCALL_MAX_COUNT));
    for (let i = 0; i < batch.capacity; i++) batch.put(first + done + i, flags);
    await batch.sendAsync();
    let bad = 0;
    for (let i = 0; i < batch.capacity; i++) {
      if (batch.status(i) === 0) dpn[done + i] = batch.dpn(i);
      else bad = batch.status(i);
    }
    if (bad !== 0) {
      await dmaUnmap(client, dpn);
      throw new Error(`the hypervisor refused a page for the NIC: status ${bad}`);
    }
    done += batch.capacity;
  }
  return dpn;
}

/** Takes own pages out of the DMA table again. @throws Error when one stays in it: it must not be used again */
export async function dmaUnmap(client: HypercallPort, dpn: Uint32Array): Promise<void> {
  const mapped = [...dpn].filter((n) => n !== 0);
  let bad = 0;
  for (let at = 0; at < mapped.length; at += HYPERCALL_MAX_COUNT) {
    const part = mapped.slice(at, at + HYPERCALL_MAX_COUNT);
    const batch = new DmaUnmapBatch(client, part.length);
    for (const n of part) batch.put(n);
    await batch.sendAsync();
    for (let i = 0; i < part.length; i++) if (batch.status(i) !== 0) bad++;
  }
  if (bad > 0) throw new Error(`${bad} pages stay in the DMA table`);
}
