/** Captures read, whichever their format; classic pcap files read and written. Source: draft-ietf-opsawg-pcap.
 *
 *    file     | magic u32 | major u16 | minor u16 | zone u32 | sigfigs u32 | snaplen u32 | link type u32 |
 *    record   | seconds u32 | fraction u32 | captured length u32 | length on the wire u32 | bytes ... |
 *
 *  The magic tells byte order and the unit of the fraction. */
import { LINKTYPE_ETHERNET, CaptureError, FrameList, MAX_RECORD_BYTES, notEthernet, type Capture } from './capture.js';
import { PCAPNG_SECTION, parsePcapng } from './pcapng.js';

/** Fraction in microseconds. */
const PCAP_MAGIC_US = 0xa1b2c3d4;
/** Fraction in nanoseconds. */
const PCAP_MAGIC_NS = 0xa1b23c4d;
export const PCAP_HEADER_BYTES = 24;
export const PCAP_RECORD_BYTES = 16;

/** The field of the link type: type, a bit that says that the length of the FCS is told, and that length in units of 16 bits. */
const LINK_MASK = 0x03ffffff;
const FCS_IS_TOLD = 0x04000000;
const FCS_SHIFT = 28;

/** Reads a classic pcap or a pcapng file, as its first bytes say.
 *  @throws CaptureError when it is neither, is truncated, or holds something else than Ethernet */
export function parseCapture(bytes: Uint8Array): Capture {
  if (bytes.length < 4) throw new CaptureError(`not a capture: ${bytes.length} bytes are too few`, 0);
  const magic = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getUint32(0, true);
  return magic === PCAPNG_SECTION ? parsePcapng(bytes) : parsePcap(bytes);
}

/** @throws CaptureError when the bytes are no classic pcap of Ethernet frames, or end inside a record */
function parsePcap(bytes: Uint8Array): Capture {
  const dv = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const little = byteOrder(dv);
  if (bytes.length < PCAP_HEADER_BYTES)
    throw new CaptureError('truncated: the file ends inside its header', bytes.length);
  const unitNs = dv.getUint32(0, little) === PCAP_MAGIC_NS ? 1 : 1000;
  const linkField = dv.getUint32(20, little);
  const link = linkField & LINK_MASK;
  if (link !== LINKTYPE_ETHERNET) throw new CaptureError(notEthernet(link), 20);
  const fcsBytes = (linkField & FCS_IS_TOLD) !== 0 ? (linkField >>> FCS_SHIFT) * 2 : 0;

  const list = new FrameList();
  let first = true;
  let firstSeconds = 0;
  let firstFraction = 0;
  for (let at = PCAP_HEADER_BYTES; at < bytes.length;) {
    if (at + PCAP_RECORD_BYTES > bytes.length)
      throw new CaptureError('truncated: the file ends inside a record header', at);
    const seconds = dv.getUint32(at, little);
    const fraction = dv.getUint32(at + 4, little);
    const captured = dv.getUint32(at + 8, little);
    const onWire = dv.getUint32(at + 12, little);
    if (captured > MAX_RECORD_BYTES) throw new CaptureError(`a record of ${captured} bytes is impossible`, at + 8);
    const start = at + PCAP_RECORD_BYTES;
    if (start + captured > bytes.length) throw new CaptureError('truncated: the file ends inside a frame', start);
    if (first) {
      first = false;
      firstSeconds = seconds;
      firstFraction = fraction;
    }
    // Differences first: nanoseconds since 1970 do not fit a double exactly.
    const timeNs = (seconds - firstSeconds) * 1e9 + (fraction - firstFraction) * unitNs;
    list.frame(start, captured, onWire, fcsBytes, timeNs);
    at = start + captured;
  }
  return list.finish('pcap', bytes);
}

function byteOrder(dv: DataView): boolean {
  for (const little of [true, false]) {
    const magic = dv.getUint32(0, little);
    if (magic === PCAP_MAGIC_US || magic === PCAP_MAGIC_NS) return little;
  }
  throw new CaptureError('not a capture: neither pcap nor pcapng', 0);
}

/** One frame to write. */
export interface FrameRecord {
  /** Nanoseconds since any origin, not negative. */
  readonly timeNs: number;
  /** The frame without FCS. */
  readonly bytes: Uint8Array;
}

/** Writes a classic pcap with nanosecond times, little-endian: what was received, for Wireshark to open.
 *  @returns the file's bytes */
export function writePcap(frames: readonly FrameRecord[]): Uint8Array<ArrayBuffer> {
  const size = frames.reduce((sum, f) => sum + PCAP_RECORD_BYTES + f.bytes.length, PCAP_HEADER_BYTES);
  const out = new Uint8Array(size);
  const dv = new DataView(out.buffer);
  dv.setUint32(0, PCAP_MAGIC_NS, true);
  dv.setUint16(4, 2, true);
  dv.setUint16(6, 4, true);
  dv.setUint32(16, 65535, true);
  dv.setUint32(20, LINKTYPE_ETHERNET, true);
  let at = PCAP_HEADER_BYTES;
  for (const { timeNs, bytes } of frames) {
    dv.setUint32(at, Math.floor(timeNs / 1e9), true);
    dv.setUint32(at + 4, Math.floor(timeNs % 1e9), true);
    dv.setUint32(at + 8, bytes.length, true);
    dv.setUint32(at + 12, bytes.length, true);
    out.set(bytes, at + PCAP_RECORD_BYTES);
    at += PCAP_RECORD_BYTES + bytes.length;
  }
  return out;
}
