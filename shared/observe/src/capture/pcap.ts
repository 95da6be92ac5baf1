/** Classic pcap files. Source: draft-ietf-opsawg-pcap.
 *
 *    file     | magic u32 | major u16 | minor u16 | zone u32 | sigfigs u32 | snaplen u32 | link type u32 |
 *    record   | seconds u32 | fraction u32 | captured length u32 | length on the wire u32 | bytes ... |
 *
 *  The magic tells byte order and the unit of the fraction. */
import { CaptureError, FrameList, LINKTYPE_ETHERNET, MAX_RECORD_BYTES, notEthernet, type Capture } from './capture.js';

/** Fraction in microseconds. */
export const PCAP_MAGIC_US = 0xa1b2c3d4;
/** Fraction in nanoseconds. */
export const PCAP_MAGIC_NS = 0xa1b23c4d;
export const PCAP_HEADER_BYTES = 24;
export const PCAP_RECORD_BYTES = 16;

/** The field of the link type: type, a bit that says that the length of the FCS is told, and that length in units of 16 bits. */
const LINK_MASK = 0x03ffffff;
const FCS_IS_TOLD = 0x04000000;
const FCS_SHIFT = 28;

/** @throws CaptureError when the bytes are no classic pcap of Ethernet frames, or end inside a record */
export function parsePcap(bytes: Uint8Array): Capture {
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
