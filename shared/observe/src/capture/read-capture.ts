/** Chooses the reader of a capture by the file's first bytes. */
import { CaptureError, type Capture } from './capture.js';
import { parsePcap } from './pcap.js';
import { PCAPNG_SECTION, parsePcapng } from './pcapng.js';

/** Reads a classic pcap or a pcapng file.
 *  @throws CaptureError when it is neither, is truncated, or holds something else than Ethernet */
export function parseCapture(bytes: Uint8Array): Capture {
  if (bytes.length < 4) throw new CaptureError(`not a capture: ${bytes.length} bytes are too few`, 0);
  const magic = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getUint32(0, true);
  return magic === PCAPNG_SECTION ? parsePcapng(bytes) : parsePcap(bytes);
}
