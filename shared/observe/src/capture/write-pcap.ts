/** Writes a classic pcap with nanosecond times, little-endian: what was received, for Wireshark to open. */
import { LINKTYPE_ETHERNET } from './capture.js';
import { PCAP_HEADER_BYTES, PCAP_MAGIC_NS, PCAP_RECORD_BYTES } from './pcap.js';

/** One frame to write. */
export interface FrameRecord {
  /** Nanoseconds since any origin, not negative. */
  readonly timeNs: number;
  /** The frame without FCS. */
  readonly bytes: Uint8Array;
}

/** @returns the file's bytes */
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
