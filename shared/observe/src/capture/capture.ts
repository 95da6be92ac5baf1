/** Captures of Ethernet frames: what the readers return, and how they refuse. */

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
