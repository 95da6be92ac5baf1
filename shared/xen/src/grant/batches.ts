/** Both ends of hypercall batches. Layouts: abi/hypercall.ts.
 *
 *  Each batch of a domain is one object: its elements, whose grants it is about, its way to the hypervisor, its results.
 *
 *  A batch is made once and used again and again, in place: no allocation per element. It is filled (put), sent, answered
 *  (status and the other results are read), reset, filled again. From send to the answer it belongs to the port; put refuses then. Words of an element that are always 0 (upper halves, padding, the
 *  OUT fields) are so from the start, and nobody writes them.
 *
 *  The hypervisor has one ReceivedBatch for all: the copy in which it judges what came. It has that one user, and is here so that
 *  both ends of the one layout are in one file. */
import {
  COPY_BYTES,
  COPY_DST_DOMID,
  COPY_DST_REF,
  COPY_LEN,
  COPY_SRC_DOMID,
  COPY_SRC_REF,
  DMAOP_MAP_SELF,
  DMAOP_UNMAP_SELF,
  DMA_MAP_FLAGS,
  DMA_MAP_PFN,
  DMA_MAP_RES_BYTES,
  DMA_MAP_RES_DPN,
  GNTTABOP_COPY,
  GNTTABOP_MAP,
  GNTTABOP_UNMAP,
  HCRING_ELEMENTS,
  HCRING_FIRST,
  HCRING_RESULTS,
  HYPERCALL_CMD_OR_RC,
  HYPERCALL_COUNT,
  HYPERCALL_HEADER_BYTES,
  HYPERCALL_MAX_COUNT,
  HYPERCALL_RC,
  MAP_DOM,
  MAP_FLAGS,
  MAP_HOST_ADDR,
  MAP_REF,
  MAP_RES_BYTES,
  MAP_RES_DPN,
  MAP_RES_HANDLE,
  MAP_RES_PFN,
  UNMAP_DEV_BUS_ADDR,
  UNMAP_HANDLE,
  UNMAP_HOST_ADDR,
  copySide,
  copyWhat,
  elementBytes,
  resultBytes,
} from '../abi/hypercall.js';
import { GNTCOPY_DEST_GREF, GNTCOPY_SOURCE_GREF, GNTST } from '../abi/grant-table.js';
import { PAGE_SHIFT, type DomId, type Dpn, type GrantHandle, type Pfn } from '@grantline/base';
import type { Call, HypercallPort } from '../hypervisor/hypervisor-port.js';

/** From so many words on a native copy is worth making a view of them. */
const MANY_WORDS = 96;

/** Copies words from one array to another. A view for a slot is no allocation for a frame: a slot has up to 64. */
export function copyWords(from: Uint32Array, at: number, to: Uint32Array, toAt: number, words: number): void {
  if (words >= MANY_WORDS) to.set(from.subarray(at, at + words), toAt);
  else for (let i = 0; i < words; i++) to[toAt + i] = from[at + i];
}

const NOBODY = (): void => {};
const HEADER_WORDS = HYPERCALL_HEADER_BYTES >> 2;

/** What all batches have in common. */
export abstract class Batch implements Call {
  readonly cmd: number;
  /** Elements put since the last reset. */
  count = 0;
  readonly capacity: number;
  /** A number for each element that means something to the caller only. */
  readonly tag: Int32Array;
  /** The results can be read. */
  answered = false;
  /** rc of the whole call: 0, or a negative errno; then no element was looked at. */
  rc = 0;
  isAwaited = false;
  readonly words: Uint32Array;
  readonly results: Uint32Array;
  private readonly statuses: Int16Array;
  private readonly port: HypercallPort;
  private readonly elementWords: number;
  /** From one status to the next, in halves of words. */
  private readonly stride: number;
  private sent = false;
  private replied: () => void;

  /** @param replied called when the results are there, later than `send` unless the port answers at once */
  protected constructor(port: HypercallPort, cmd: number, capacity: number, replied: () => void) {
    if (!Number.isInteger(capacity) || capacity < 1 || capacity > HYPERCALL_MAX_COUNT)
      throw new RangeError(`a batch holds 1 to ${HYPERCALL_MAX_COUNT} elements, not ${capacity}`);
    this.port = port;
    this.cmd = cmd;
    this.capacity = capacity;
    this.elementWords = elementBytes(cmd) >> 2;
    this.stride = resultBytes(cmd) >> 1;
    this.replied = replied;
    this.words = new Uint32Array(HEADER_WORDS + capacity * this.elementWords);
    this.results = new Uint32Array((capacity * this.stride + 1) >> 1);
    this.statuses = new Int16Array(this.results.buffer);
    this.tag = new Int32Array(capacity);
  }

  /** Empties the batch for new elements. @throws Error while it is in flight */
  reset(): void {
    if (this.sent && !this.answered) throw new Error('a batch in flight cannot be reset');
    this.count = 0;
    this.sent = false;
    this.answered = false;
  }

  /** Sends what was put, as one hypercall. @throws Error when the batch is empty or has been sent already */
  send(): void {
    if (this.count === 0 || this.sent) throw new Error(this.sent ? 'the batch has been sent' : 'the batch is empty');
    this.sent = true;
    this.port.hypercall(this);
  }

  /** Sends, and resolves when the results are there: for control code. Nobody else is told. */
  sendAsync(): Promise<void> {
    const { replied } = this;
    return new Promise<void>((resolve) => {
      this.replied = resolve;
      this.isAwaited = true;
      this.send();
    }).finally(() => {
      this.replied = replied;
      this.isAwaited = false;
    });
  }

  answer(rc: number): void {
    this.answered = true;
    this.rc = rc;
    this.replied();
  }

  /** GNTST_* of element i: 0 or negative. generalError for all when the call itself failed. */
  status(i: number): number {
    if (this.rc !== 0 || i >= this.count) return GNTST.generalError;
    // Every result begins with it.
    return this.statuses[i * this.stride];
  }

  /** Word offset of a new element. @throws RangeError when full, Error when in flight: the caller's fault */
  protected next(tag: number): number {
    if (this.sent) throw new Error('the batch has been sent: reset it first');
    if (this.count === this.capacity) throw new RangeError('the batch is full');
    this.tag[this.count] = tag;
    return HEADER_WORDS + this.count++ * this.elementWords;
  }
}

/** A call as a message. @param seq comes back in the reply @returns the call's own memory, in use until it is answered */
export function callMessage(call: Call, seq: number): Buffer {
  const { cmd, count, words } = call;
  words[0] = seq;
  words[1] = (cmd & 0xffff) | (count << 16);
  return Buffer.from(words.buffer, words.byteOffset, HYPERCALL_HEADER_BYTES + count * elementBytes(cmd));
}

/** Answers a call with the reply to its message. One that does not fit it counts as a failed call. */
export function answerByMessage(call: Call, reply: Buffer): void {
  const { cmd, count, results } = call;
  const rc = reply.readInt16LE(HYPERCALL_CMD_OR_RC);
  if (rc !== 0) return call.answer(rc);
  const bytes = count * resultBytes(cmd);
  const fits = reply.length === HYPERCALL_HEADER_BYTES + bytes && reply.readUInt16LE(HYPERCALL_COUNT) === count;
  if (fits) reply.copy(Buffer.from(results.buffer, results.byteOffset, bytes), 0, HYPERCALL_HEADER_BYTES);
  call.answer(fits ? 0 : HYPERCALL_RC.eproto);
}

/** GNTTABOP_copy: the hypervisor copies between pages of the caller and pages that guests granted. */
export class CopyBatch extends Batch {
  private readonly self: DomId;
  private readonly guest: DomId;

  /** @param self the caller's number
   *  @param guest whose grants are copied to by `put`, from by `fetch` */
  constructor(port: HypercallPort, self: DomId, guest: DomId, capacity: number, replied = NOBODY) {
    super(port, GNTTABOP_COPY, capacity, replied);
    this.self = self;
    this.guest = guest;
  }

  /** Copies into a page of the guest. With each offset, `len` must stay inside one page.
   *  @param domid who granted the source page, then `page` is its gref; -1: it is the caller's own, and `page` its pfn */
  put(domid: number, page: number, offset: number, gref: number, grefOffset: number, len: number, tag = 0): void {
    const flags = domid < 0 ? GNTCOPY_DEST_GREF : GNTCOPY_SOURCE_GREF | GNTCOPY_DEST_GREF;
    this.add(domid < 0 ? this.self : domid, page, offset, this.guest, gref, grefOffset, len, flags, tag);
  }

  /** The other way: from a page of the guest into one of the caller's own. */
  fetch(gref: number, grefOffset: number, pfn: number, offset: number, len: number, tag = 0): void {
    this.add(this.guest, gref, grefOffset, this.self, pfn, offset, len, GNTCOPY_SOURCE_GREF, tag);
  }

  /** An element of any kind, between any two domains.
   *  @param flags GNTCOPY_*: which of the two pages is named by its gref, else by its pfn */
  add(
    srcDomid: number,
    srcPage: number,
    srcOffset: number,
    dstDomid: number,
    dstPage: number,
    dstOffset: number,
    len: number,
    flags: number,
    tag = 0,
  ): void {
    const w = this.next(tag);
    const { words } = this;
    words[w + (COPY_SRC_REF >> 2)] = srcPage;
    words[w + (COPY_SRC_DOMID >> 2)] = copySide(srcDomid, srcOffset);
    words[w + (COPY_DST_REF >> 2)] = dstPage;
    words[w + (COPY_DST_DOMID >> 2)] = copySide(dstDomid, dstOffset);
    words[w + (COPY_LEN >> 2)] = copyWhat(len, flags);
  }
}

/** GNTTABOP_map_grant_ref: host_map to map a page here, device_map to let the NIC use it. */
export class MapBatch extends Batch {
  private readonly guest: DomId;
  private readonly flags: number;

  /** @param guest whose grants are mapped
   *  @param flags GNTMAP_* */
  constructor(port: HypercallPort, guest: DomId, flags: number, capacity: number, replied = NOBODY) {
    super(port, GNTTABOP_MAP, capacity, replied);
    this.guest = guest;
    this.flags = flags;
  }

  /** @param hostAddr where the page will be mapped: the caller's own name for it, below 2^32 */
  put(gref: number, hostAddr = 0, tag = 0): void {
    this.add(this.flags, gref, this.guest, hostAddr, tag);
  }

  /** An element with flags and granter of its own. */
  add(flags: number, gref: number, granter: number, hostAddr = 0, tag = 0): void {
    const w = this.next(tag);
    const { words } = this;
    words[w + (MAP_HOST_ADDR >> 2)] = hostAddr;
    words[w + (MAP_FLAGS >> 2)] = flags;
    words[w + (MAP_REF >> 2)] = gref;
    words[w + (MAP_DOM >> 2)] = granter;
  }

  /** Names the mapping in the unmap. Only where status is 0. */
  handle(i: number): GrantHandle {
    return this.results[(i * MAP_RES_BYTES + MAP_RES_HANDLE) >> 2] as GrantHandle;
  }

  /** host_map: the page of the granter's memory to map. */
  pfn(i: number): Pfn {
    return this.results[(i * MAP_RES_BYTES + MAP_RES_PFN) >> 2] as Pfn;
  }

  /** device_map: the page's number for the NIC. */
  dpn(i: number): Dpn {
    return this.results[(i * MAP_RES_BYTES + MAP_RES_DPN) >> 2] as Dpn;
  }
}

/** GNTTABOP_unmap_grant_ref. */
export class UnmapBatch extends Batch {
  constructor(port: HypercallPort, capacity: number, replied = NOBODY) {
    super(port, GNTTABOP_UNMAP, capacity, replied);
  }

  /** @param dpn 0: leave the device mapping
   *  @param hostAddr as given at the mapping; 0: leave the host mapping */
  put(handle: number, dpn: number, hostAddr = 0, tag = 0): void {
    const w = this.next(tag);
    const { words } = this;
    words[w + (UNMAP_HOST_ADDR >> 2)] = hostAddr;
    words[w + (UNMAP_DEV_BUS_ADDR >> 2)] = dpn << PAGE_SHIFT;
    words[w + (UNMAP_DEV_BUS_ADDR >> 2) + 1] = dpn >>> (32 - PAGE_SHIFT);
    words[w + (UNMAP_HANDLE >> 2)] = handle;
  }
}

/** dma map_self: pages of the caller's own memory for its own NIC queues. */
export class DmaMapBatch extends Batch {
  constructor(port: HypercallPort, capacity: number) {
    super(port, DMAOP_MAP_SELF, capacity, NOBODY);
  }

  /** @param flags DMA_WRITE when the NIC may write */
  put(pfn: number, flags: number): void {
    const w = this.next(0);
    this.words[w + (DMA_MAP_PFN >> 2)] = pfn;
    this.words[w + (DMA_MAP_FLAGS >> 2)] = flags;
  }

  /** The page's number for the NIC. Only where status is 0. */
  dpn(i: number): Dpn {
    return this.results[(i * DMA_MAP_RES_BYTES + DMA_MAP_RES_DPN) >> 2] as Dpn;
  }
}

/** dma unmap_self. */
export class DmaUnmapBatch extends Batch {
  constructor(port: HypercallPort, capacity: number) {
    super(port, DMAOP_UNMAP_SELF, capacity, NOBODY);
  }

  put(dpn: number): void {
    this.words[this.next(0)] = dpn;
  }
}

/** The hypervisor's private copy of one batch, for one after the other: it is copied in once and judged there, so each word that
 *  is judged is the word that is used. Aligned typed arrays over it cost a fraction of a DataView or of Buffer's readers. */
export class ReceivedBatch {
  cmd = 0;
  count = 0;
  /** Elements: their words. */
  readonly req32: Uint32Array;
  /** The same, signed: its values are small integers for the engine, whatever a caller sends. */
  readonly req32s: Int32Array;
  /** Results: their halves of words, and their words. */
  readonly res16: Int16Array;
  readonly res32: Uint32Array;
  private readonly req: Buffer;
  private readonly res: Buffer;

  constructor() {
    const request = new ArrayBuffer(HYPERCALL_MAX_COUNT * COPY_BYTES);
    const result = new ArrayBuffer(HYPERCALL_MAX_COUNT * MAP_RES_BYTES);
    this.req = Buffer.from(request);
    this.req32 = new Uint32Array(request);
    this.req32s = new Int32Array(request);
    this.res = Buffer.from(result);
    this.res16 = new Int16Array(result);
    this.res32 = new Uint32Array(result);
  }

  /** Copies the elements of a message in. @param message with a whole header
   *  @returns 0, or the rc of a call that is wrong as a whole */
  take(message: Buffer): number {
    this.cmd = message.readUInt16LE(HYPERCALL_CMD_OR_RC);
    this.count = message.readUInt16LE(HYPERCALL_COUNT);
    const size = elementBytes(this.cmd);
    if (size === 0) return HYPERCALL_RC.enosys;
    if (this.count > HYPERCALL_MAX_COUNT) return HYPERCALL_RC.einval;
    if (message.length !== HYPERCALL_HEADER_BYTES + this.count * size) return HYPERCALL_RC.efault;
    message.copy(this.req, 0, HYPERCALL_HEADER_BYTES);
    return 0;
  }

  /** Writes the reply to a message, with the results where rc is 0. @returns its bytes */
  answer(message: Buffer, rc: number, reply: Buffer): number {
    const results = rc === 0 ? this.count * resultBytes(this.cmd) : 0;
    reply.writeUInt32LE(message.readUInt32LE(0), 0);
    reply.writeInt16LE(rc, HYPERCALL_CMD_OR_RC);
    reply.writeUInt16LE(rc === 0 ? this.count : 0, HYPERCALL_COUNT);
    this.res.copy(reply, HYPERCALL_HEADER_BYTES, 0, results);
    return HYPERCALL_HEADER_BYTES + results;
  }

  /** Copies the elements of a ring's slot in. Its owner may write it at the same time: each word is read once.
   *  @param at byte offset of the slot @returns as take() */
  takeSlot(u32: Uint32Array, at: number): number {
    const head = u32[at >> 2];
    this.cmd = head & 0xffff;
    this.count = head >>> 16;
    const size = elementBytes(this.cmd);
    if (size === 0) return HYPERCALL_RC.enosys;
    if (this.count > HCRING_ELEMENTS) return HYPERCALL_RC.einval;
    const { req32 } = this;
    const from = (at + HCRING_FIRST) >> 2;
    const words = (this.count * size) >> 2;
    copyWords(u32, from, req32, 0, words);
    return 0;
  }

  /** Writes the answer into the slot, with the results where rc is 0. */
  answerSlot(u32: Uint32Array, at: number, rc: number): void {
    const { res32 } = this;
    const count = rc === 0 ? this.count : 0;
    const to = (at + HCRING_RESULTS) >> 2;
    const bytes = count * resultBytes(this.cmd);
    const words = bytes >> 2;
    for (let i = 0; i < words; i++) u32[to + i] = res32[i];
    // The other half of the word is of an answer to somebody else.
    if ((bytes & 2) !== 0) u32[to + words] = res32[words] & 0xffff;
    u32[at >> 2] = (rc & 0xffff) | (count << 16);
  }
}
