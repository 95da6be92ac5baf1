/** pcapng files. Source: draft-ietf-opsawg-pcapng.
 *
 *    block    | type u32 | total length u32 | body ... | total length u32 |
 *    section  | magic u32 | major u16 | minor u16 | section length i64 | options |       starts a section, sets byte order
 *    interface| link type u16 | 0 u16 | snaplen u32 | options |
 *    enhanced | interface u32 | time high u32 | time low u32 | captured u32 | on the wire u32 | bytes, padded to 4 | options |
 *    simple   | on the wire u32 | bytes, padded to 4 |                                     interface 0, no time
 *    packet   | interface u16 | drops u16 | as enhanced |                                  of old, and still found
 *
 *  All other blocks are skipped. */
import { CaptureError, FrameList, LINKTYPE_ETHERNET, MAX_RECORD_BYTES, notEthernet, type Capture } from './capture.js';

export const PCAPNG_SECTION = 0x0a0d0d0a;
export const PCAPNG_INTERFACE = 1;
export const PCAPNG_PACKET = 2;
export const PCAPNG_SIMPLE = 3;
export const PCAPNG_ENHANCED = 6;
export const PCAPNG_BYTE_ORDER = 0x1a2b3c4d;
const OPTION_END = 0;
const OPTION_TSRESOL = 9;
const OPTION_FCSLEN = 13;
const OPTION_TSOFFSET = 14;
/** Of a packet: bits 5 to 8 are the length of its FCS, 0: not told. */
const OPTION_FLAGS = 2;

interface Interface {
  link: number;
  snaplen: number;
  /** Ticks in a second. */
  ticksPerSecond: bigint;
  offsetSeconds: bigint;
  /** Bytes of FCS at the end of each frame, where the frame does not say otherwise. */
  fcsBytes: number;
}

/** @throws CaptureError when the bytes are no pcapng, end inside a block, or hold frames that are not Ethernet */
export function parsePcapng(bytes: Uint8Array): Capture {
  return new PcapngReader(bytes).read();
}

class PcapngReader {
  private readonly bytes: Uint8Array;
  private readonly dv: DataView;
  private readonly list = new FrameList();
  private little = true;
  private interfaces: Interface[] = [];
  private firstNs: bigint | null = null;
  private lastNs = 0;
  private foreign: CaptureError | null = null;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
    this.dv = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  read(): Capture {
    for (let at = 0; at < this.bytes.length;) at = this.block(at);
    const found = this.list.finish('pcapng', this.bytes);
    // Nothing but frames that are not Ethernet: the first of them says why there is nothing.
    if (this.foreign !== null && found.count + found.cut === 0) throw this.foreign;
    return found;
  }

  private u32(at: number): number {
    return this.dv.getUint32(at, this.little);
  }

  /** @returns the offset of the next block */
  private block(at: number): number {
    const left = this.bytes.length - at;
    if (left < 12) throw new CaptureError('truncated: the file ends inside a block header', at);
    // The section header's type reads the same in both byte orders.
    const type = this.u32(at);
    if (type === PCAPNG_SECTION) this.sectionOrder(at);
    const total = this.u32(at + 4);
    if (total < 12 || total % 4 !== 0) throw new CaptureError(`a block of ${total} bytes is impossible`, at + 4);
    if (total > left) throw new CaptureError('truncated: the file ends inside a block', at);
    if (this.u32(at + total - 4) !== total) throw new CaptureError('the two lengths of a block differ', at + total - 4);
    const body = at + 8;
    const end = at + total - 4;
    if (type === PCAPNG_SECTION) this.section(body, end);
    else if (type === PCAPNG_INTERFACE) this.interfaceBlock(body, end);
    else if (type === PCAPNG_ENHANCED && end - body >= 4) this.packet(this.u32(body), body, end);
    else if (type === PCAPNG_PACKET && end - body >= 4) this.packet(this.dv.getUint16(body, this.little), body, end);
    else if (type === PCAPNG_ENHANCED || type === PCAPNG_PACKET)
      throw new CaptureError('a packet block is too short', body);
    else if (type === PCAPNG_SIMPLE) this.simple(body, end);
    return at + total;
  }

  private sectionOrder(at: number): void {
    if (this.dv.getUint32(at + 8, true) === PCAPNG_BYTE_ORDER) this.little = true;
    else if (this.dv.getUint32(at + 8, false) === PCAPNG_BYTE_ORDER) this.little = false;
    else throw new CaptureError('a section without a byte-order mark', at + 8);
  }

  private section(body: number, end: number): void {
    if (end - body < 16) throw new CaptureError('a section header is too short', body);
    const major = this.dv.getUint16(body + 4, this.little);
    if (major !== 1) throw new CaptureError(`pcapng version ${major} is not known`, body + 4);
    // Interfaces are numbered anew in each section.
    this.interfaces = [];
  }

  private interfaceBlock(body: number, end: number): void {
    if (end - body < 8) throw new CaptureError('an interface block is too short', body);
    const found: Interface = {
      link: this.dv.getUint16(body, this.little),
      snaplen: this.u32(body + 4),
      ticksPerSecond: 1_000_000n,
      offsetSeconds: 0n,
      fcsBytes: 0,
    };
    this.options(body + 8, end, true, (code, at, length) => {
      if (code === OPTION_TSRESOL && length >= 1) found.ticksPerSecond = ticks(this.bytes[at]);
      if (code === OPTION_FCSLEN && length >= 1) found.fcsBytes = this.bytes[at];
      if (code === OPTION_TSOFFSET && length >= 8) found.offsetSeconds = this.dv.getBigInt64(at, this.little);
    });
    this.interfaces.push(found);
  }

  private options(
    from: number,
    end: number,
    strict: boolean,
    each: (code: number, at: number, length: number) => void,
  ): void {
    for (let at = from; at + 4 <= end;) {
      const code = this.dv.getUint16(at, this.little);
      const length = this.dv.getUint16(at + 2, this.little);
      if (code === OPTION_END) break;
      if (at + 4 + length > end) {
        if (strict) throw new CaptureError('an option runs over its block', at);
        break;
      }
      each(code, at + 4, length);
      at += 4 + ((length + 3) & ~3);
    }
  }

  private packet(id: number, body: number, end: number): void {
    if (end - body < 20) throw new CaptureError('a packet block is too short', body);
    const from = this.interfaceOf(id, body);
    if (from === null) return;
    const stamp = (BigInt(this.u32(body + 4)) << 32n) | BigInt(this.u32(body + 8));
    const captured = this.u32(body + 12);
    if (captured > MAX_RECORD_BYTES || captured > end - body - 20)
      throw new CaptureError(`a frame of ${captured} bytes does not fit its block`, body + 12);
    const ns = (stamp * 1_000_000_000n) / from.ticksPerSecond + from.offsetSeconds * 1_000_000_000n;
    this.firstNs ??= ns;
    this.lastNs = Number(ns - this.firstNs);
    let { fcsBytes } = from;
    // The frame is there whatever stands behind it.
    this.options(body + 20 + ((captured + 3) & ~3), end, false, (code, at, length) => {
      if (code === OPTION_FLAGS && length >= 4) fcsBytes = (this.u32(at) >>> 5) & 15 || fcsBytes;
    });
    this.list.frame(body + 20, captured, this.u32(body + 16), fcsBytes, this.lastNs);
  }

  private simple(body: number, end: number): void {
    if (end - body < 4) throw new CaptureError('a packet block is too short', body);
    const from = this.interfaceOf(0, body);
    if (from === null) return;
    const onWire = this.u32(body);
    const captured = from.snaplen === 0 ? onWire : Math.min(onWire, from.snaplen);
    if (captured > MAX_RECORD_BYTES || captured > end - body - 4)
      throw new CaptureError(`a frame of ${captured} bytes does not fit its block`, body);
    // A simple packet has no time: it gets that of the packet before it.
    this.list.frame(body + 4, captured, onWire, from.fcsBytes, this.lastNs);
  }

  /** @returns null for one that is not Ethernet: the frame has been counted */
  private interfaceOf(id: number, at: number): Interface | null {
    const found = this.interfaces[id];
    if (found === undefined) throw new CaptureError(`interface ${id} has not been described`, at);
    if (found.link === LINKTYPE_ETHERNET) return found;
    this.foreign ??= new CaptureError(`interface ${id}: ${notEthernet(found.link)}`, at);
    this.list.foreign++;
    return null;
  }
}

/** if_tsresol: a power of ten, or of two when the top bit is set. */
function ticks(resolution: number): bigint {
  return resolution & 0x80 ? 1n << BigInt(resolution & 0x7f) : 10n ** BigInt(resolution);
}
