/** One batch on its way through the stack: fragments as the driver gave them, with what it told of each packet; frames that go
 *  to a socket, segments made of these. All in preallocated rows; a row is told by where it starts. */
import { endOf, tcpAt } from '@grantline/frames';
import type { Mem } from '@grantline/machine';
import * as pieces from './frame-app.js';
import type { PieceList } from './frame-app.js';

// Local, so that the engine folds it into the code: see flow-templates.ts.
const { MAX_LISTED, MAX_PIECES } = pieces;

// What a driver tells the stack of a received packet besides its bytes, in one word; 0: an ordinary frame whose checksum is
// filled in. A bulk packet stands for frames that were never cut: TCP payload of up to 64 KiB behind one set of headers.
/** Bits 0 to 15: payload of each frame of a bulk packet, 0: not one. Bits 16 to 23: how many frames it stands for. */
const MSS_MASK = 0xffff;
const FRAMES_SHIFT = 16;
export const RX_MSS_MASK = MSS_MASK;
export const RX_FRAMES_SHIFT = FRAMES_SHIFT;
/** The TCP or UDP checksum field holds the pseudo header's sum: the packet comes from this machine and was never on a wire. */
export const RX_CSUM_BLANK = 1 << 24;
/** Most frames that a bulk packet stands for, as many as the NIC cuts from one: the burst that they are made in must stay short. */
export const MAX_BULK_FRAMES = 128;

/** How many frames the packet stands for. */
export const framesOf = (info: number): number => ((info & MSS_MASK) === 0 ? 1 : (info >>> FRAMES_SHIFT) & 0xff);

/** @param at, linear the packet's first piece, Ethernet header first @param bytes of the whole packet
 *  @returns how many frames a bulk packet stands for; 0: it is none, or stands for too many */
export function bulkFrames(mem: Mem, at: number, linear: number, bytes: number, mss: number): number {
  if (mss === 0) return 0;
  const place = tcpAt(mem, at, linear);
  const frames = Math.ceil((bytes - endOf(place)) / mss);
  return place < 0 || frames < 1 || frames > MAX_BULK_FRAMES ? 0 : frames;
}

// What belongs together stands together, in rows of 32-bit words.
const FRAG_OFF = 0;
const FRAG_LEN = 1;
const FRAG_MORE = 2;
/** Of the packet, at its first fragment: the word above. */
const FRAG_INFO = 3;
const FRAG_WORDS = 4;
/** Row of the frame's first fragment. */
const FRAME_FIRST = 0;
const FRAME_BYTES = 1;
/** Where the payload starts, counted from the frame's start. */
const FRAME_PAYLOAD = 2;
const FRAME_PAYLOAD_BYTES = 3;
/** Row of the segment's next frame, or -1. */
const FRAME_NEXT = 4;
/** Payload of each frame that a bulk packet stands for; 0: it is a frame. */
const FRAME_MSS = 5;
const FRAME_WORDS = 8;
/** A segment is a list of frames: rows of the first and the last one. */
const SEGMENT_HEAD = 0;
const SEGMENT_TAIL = 1;
const SEGMENT_SOCKET = 2;
const SEGMENT_WORDS = 4;
/** 32-bit words in a cache line. */
const LINE_WORDS = 16;

export class RxBatch {
  /** Row of the first fragment of the frame that `take` took. */
  first = 0;
  /** Bytes of that frame. */
  bytes = 0;
  /** Whether its last fragment is there. */
  whole = false;
  /** What the driver told of it. */
  info = 0;
  /** Frames that were appended; those that bulk packets stand for are counted one by one. */
  frames = 0;
  private packets = 0;
  private listed = 0;
  segments = 0;
  private readonly fragRows = new Int32Array(MAX_PIECES * FRAG_WORDS);
  private end = 0;
  private taken = 0;
  private readonly frameRows = new Int32Array(MAX_PIECES * FRAME_WORDS);
  /** What `touch` read: nobody looks at it, but without it the engine would leave the reads out. */
  private readonly touched = new Int32Array(1);
  private readonly segmentRows = new Int32Array(MAX_PIECES * SEGMENT_WORDS);

  /** Fragments that there is room for. */
  get room(): number {
    return MAX_PIECES - this.end / FRAG_WORDS;
  }

  get isEmpty(): boolean {
    return this.end === 0;
  }

  /** Adds a fragment. @throws RangeError when there is no room */
  add(off: number, len: number, more: boolean, info: number): void {
    const row = this.end;
    this.listed += framesOf(info);
    if (row === MAX_PIECES * FRAG_WORDS || this.listed > MAX_LISTED - MAX_PIECES)
      throw new RangeError('the batch is full');
    const rows = this.fragRows;
    rows[row + FRAG_OFF] = off;
    rows[row + FRAG_LEN] = len;
    rows[row + FRAG_MORE] = more ? 1 : 0;
    rows[row + FRAG_INFO] = info;
    this.end = row + FRAG_WORDS;
  }

  /** Reads a word of each line that parsing will need, all at once: the lines lie in another core's cache, and loads that
   *  do not wait for each other fetch them side by side. (The paper's guests prefetch for the same reason.) */
  touch(i32: Int32Array): void {
    const rows = this.fragRows;
    let sum = 0;
    for (let row = this.taken; row < this.end; row += FRAG_WORDS) {
      const at = rows[row + FRAG_OFF] >> 2;
      const words = rows[row + FRAG_LEN] >> 2;
      sum ^= i32[at];
      if (words > LINE_WORDS) sum ^= i32[at + LINE_WORDS] ^ i32[at + words - 1];
    }
    this.touched[0] = sum;
  }

  /** Goes to the next frame. @returns false when there is none */
  take(): boolean {
    const rows = this.fragRows;
    const end = this.end;
    let row = this.taken;
    if (row === end) return false;
    this.first = row;
    this.info = rows[row + FRAG_INFO];
    let bytes = rows[row + FRAG_LEN];
    while (rows[row + FRAG_MORE] === 1 && row + FRAG_WORDS < end) {
      row += FRAG_WORDS;
      bytes += rows[row + FRAG_LEN];
    }
    this.bytes = bytes;
    this.whole = rows[row + FRAG_MORE] === 0;
    this.taken = row + FRAG_WORDS;
    return true;
  }

  /** Byte offset of the taken frame. */
  get off(): number {
    return this.fragRows[this.first + FRAG_OFF];
  }

  /** Bytes of it that stand in its first fragment. */
  get linear(): number {
    return this.fragRows[this.first + FRAG_LEN];
  }

  /** Appends the taken frame to a segment, or makes it one of its own when there is none (negative).
   *  @param payload where its payload starts, counted from the frame's start, in the first fragment
   *  @param payloadBytes of payload, not more than the frame holds
   *  @param raw a bulk packet is listed as one frame, as it came */
  append(payload: number, payloadBytes: number, segment: number, socket: number, raw = false): void {
    const frames = this.frameRows;
    const frame = this.packets++ * FRAME_WORDS;
    this.frames += framesOf(this.info);
    frames[frame + FRAME_MSS] = raw ? 0 : this.info & MSS_MASK;
    frames[frame + FRAME_FIRST] = this.first;
    frames[frame + FRAME_BYTES] = this.bytes;
    frames[frame + FRAME_PAYLOAD] = payload;
    frames[frame + FRAME_PAYLOAD_BYTES] = payloadBytes;
    frames[frame + FRAME_NEXT] = -1;
    const segments = this.segmentRows;
    if (segment >= 0) {
      const row = segment * SEGMENT_WORDS;
      frames[segments[row + SEGMENT_TAIL] + FRAME_NEXT] = frame;
      segments[row + SEGMENT_TAIL] = frame;
    } else {
      const row = this.segments++ * SEGMENT_WORDS;
      segments[row + SEGMENT_HEAD] = frame;
      segments[row + SEGMENT_TAIL] = frame;
      segments[row + SEGMENT_SOCKET] = socket;
    }
  }

  /** The socket of a segment, by number. */
  socketOf(segment: number): number {
    return this.segmentRows[segment * SEGMENT_WORDS + SEGMENT_SOCKET];
  }

  /** Lists the pieces that a segment's payload lies in, from `at` on. @returns the end of the list */
  list(segment: number, pieces: PieceList, at: number): number {
    const frames = this.frameRows;
    let to = at;
    let frame = this.segmentRows[segment * SEGMENT_WORDS + SEGMENT_HEAD];
    while (frame >= 0) {
      to = this.spread(frame, pieces, to);
      frame = frames[frame + FRAME_NEXT];
    }
    return to;
  }

  clear(): void {
    this.end = 0;
    this.taken = 0;
    this.frames = this.packets = this.listed = 0;
    this.segments = 0;
  }

  private spread(frame: number, pieces: PieceList, at: number): number {
    const { off, len, frameBytes } = pieces;
    const frames = this.frameRows;
    const frags = this.fragRows;
    let to = at;
    let part = frames[frame + FRAME_FIRST];
    let skip = frames[frame + FRAME_PAYLOAD];
    let payloadLeft = frames[frame + FRAME_PAYLOAD_BYTES];
    const mss = frames[frame + FRAME_MSS];
    const header = skip;
    let size = mss > 0 && mss < payloadLeft ? mss : payloadLeft;
    let left = size;
    for (;;) {
      const have = frags[part + FRAG_LEN] - skip;
      const take = have < left ? have : left;
      off[to] = frags[part + FRAG_OFF] + skip;
      len[to] = take;
      payloadLeft -= take;
      left -= take;
      if (left > 0) {
        frameBytes[to++] = 0;
        skip = 0;
        part += FRAG_WORDS;
        continue;
      }
      frameBytes[to++] = mss > 0 ? header + size : frames[frame + FRAME_BYTES];
      if (payloadLeft === 0) return to;
      // The next frame of a bulk packet begins where this one ended.
      skip += take;
      if (skip === frags[part + FRAG_LEN]) {
        skip = 0;
        part += FRAG_WORDS;
      }
      left = size = mss < payloadLeft ? mss : payloadLeft;
    }
  }
}
