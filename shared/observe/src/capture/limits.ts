/** How large a capture may be. Of one that is made: the ring that waits for its reader. Of one that is replayed: one fact for the
 *  command, which says so before anything starts, for the NIC, which keeps its frames, and for the guests, which keep what arrives. */
import { ETH_MAX_FRAME, ETH_MIN_FRAME } from '@grantline/frames';

/** Ring of a capture in the service that makes it, in bytes. */
export const MAX_RING_BYTES = 16 << 20;
export const MIN_RING_BYTES = 4096;
export const DEFAULT_RING_BYTES = 8 << 20;
/** As large as the longest record that readers believe. */
export const MAX_SNAPLEN = 262144;

/** The NIC's frames start on cache lines. */
export const STORE_ALIGN = 64;
/** Frames of a capture as they lie in the NIC's memory. */
export const STORE_BYTES = 256 << 20;
/** The same as a pcap: a record's header is no longer than a quarter of the least that a frame takes in the store. */
export const UPLOAD_BYTES = STORE_BYTES + STORE_BYTES / 4 + 1024;

/** A guest keeps frames in chunks, each with its length before it; none lies across two. */
export const RECORD_CHUNK_BYTES = 4 << 20;
export const RECORD_CHUNKS = 64;
export const RECORD_LENGTH_BYTES = 4;

/** @returns bytes that a frame takes in the NIC's store */
export const storedBytes = (length: number): number =>
  Math.ceil(Math.max(length, ETH_MIN_FRAME) / STORE_ALIGN) * STORE_ALIGN;

/** @returns bytes that a frame takes in what a guest keeps */
export const recordedBytes = (length: number): number =>
  RECORD_LENGTH_BYTES + ((Math.max(length, ETH_MIN_FRAME) + 3) & ~3);

/** What a guest can keep in any case, however frames fall into chunks. */
export const RECORD_BYTES_SURE = RECORD_CHUNKS * (RECORD_CHUNK_BYTES - recordedBytes(ETH_MAX_FRAME));
