/** Captures of Ethernet frames: what the readers return, how they refuse, and how large one may be. */
import { ETH_MAX_FRAME, ETH_MIN_FRAME } from '@grantline/frames';

/** Link type of Ethernet, in both formats. Source: tcpdump.org/linktypes.html. */
export const LINKTYPE_ETHERNET = 1;
/** What `tcpdump -i any` writes: no Ethernet header is left in it. */
const COOKED = [113, 276];

/** Why frames of a link type cannot be taken, and for the commonest what helps. */
export const notEthernet = (link: number): string =>
  `link type ${link}${COOKED.includes(link) ? ' (Linux cooked, as of tcpdump -i any)' : ''} is not Ethernet (1)`;

/** Longest record that a reader believes: larger than any frame, so that a corrupt length is named where it stands. */
export const MAX_RECORD_BYTES = 262144;

/** The file is no capture, or is not whole. The message is one line that says what is wrong and at which offset. */
export class CaptureError extends Error {
  override readonly name = 'CaptureError';
  /** Byte offset in the file. */
  readonly offset: number;

  constructor(message: string, offset: number) {
    super(`${message} (at byte ${offset})`);
    this.offset = offset;
  }
}

/** The frames of a capture, as places in the file's own bytes. */
export interface Capture {
  readonly format: 'pcap' | 'pcapng';
  /** The whole file; frames are not copied out. */
  readonly bytes: Uint8Array;
  /** Frames that are whole. */
  readonly count: number;
  /** Where frame i starts in `bytes`. */
  readonly offsets: Uint32Array;
  /** Bytes of frame i, without FCS. */
  readonly lengths: Uint32Array;
  /** Nanoseconds since the first frame; not always ascending, as captures are. */
  readonly timesNs: Float64Array;
  /** Frames that the capture program had cut (snaplen): left out and counted, for half a frame cannot be sent. */
  readonly cut: number;
  /** Frames of interfaces that are not Ethernet: left out and counted, where there are others. */
  readonly foreign: number;
}

/** Collects frames while a reader walks the file. */
export class FrameList {
  cut = 0;
  foreign = 0;
  private readonly offsets: number[] = [];
  private readonly lengths: number[] = [];
  private readonly times: number[] = [];

  /** A frame as it stands in the file: what was kept of it and how long it was, both with so many bytes of FCS. */
  frame(offset: number, captured: number, onWire: number, fcsBytes: number, timeNs: number): void {
    // Without the FCS it may be whole all the same.
    const whole = Math.max(0, Math.max(captured, onWire) - fcsBytes);
    if (captured < whole) this.cut++;
    else this.add(offset, whole, timeNs);
  }

  private add(offset: number, length: number, timeNs: number): void {
    this.offsets.push(offset);
    this.lengths.push(length);
    this.times.push(timeNs);
  }

  finish(format: Capture['format'], bytes: Uint8Array): Capture {
    return {
      format,
      bytes,
      count: this.offsets.length,
      offsets: Uint32Array.from(this.offsets),
      lengths: Uint32Array.from(this.lengths),
      timesNs: Float64Array.from(this.times),
      cut: this.cut,
      foreign: this.foreign,
    };
  }
}

// How large a capture may be. Of one that is made: the ring that waits for its reader. Of one that is replayed: one fact for the
// command, which says so before anything starts, for the NIC, which keeps its frames, and for the guests, which keep what arrives.

/** Ring of a capture in the service that makes it, in bytes. */
export const MAX_RING_BYTES = 16 << 20;
export const MIN_RING_BYTES = 4096;
export const DEFAULT_RING_BYTES = 8 << 20;
/** As large as the longest record that readers believe. */
export const MAX_SNAPLEN = 262144;

/** The NIC's frames start on cache lines. */
const STORE_ALIGN = 64;
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
