/** Reads back what the testbed writes, for tests: packets of a capture, a counter file. */
import { closeSync, openSync } from 'node:fs';
import type { BlockSnapshot } from '@grantline/machine';
import {
  OPTION_COMMENT,
  OPTION_FLAGS,
  PCAPNG_STATISTICS,
  readStatistics,
  stampAt,
  type Statistics,
} from '../src/capture/pcapng-blocks.js';
import { PCAPNG_ENHANCED } from '../src/capture/pcapng.js';
import { CounterReader, readerOf } from '../src/counters/counter-reader.js';

export interface Packet {
  interfaceId: number;
  /** Nanoseconds since 1970. */
  timeNs: bigint;
  /** What was kept of the frame, and how long it was. */
  bytes: Buffer;
  length: number;
  /** INBOUND, OUTBOUND; 0: not told. */
  direction: number;
  comment: string | null;
}

/** Reads the packets of a little-endian pcapng file of our own writing with all that stands beside them: direction and comment,
 *  which the general reader (pcapng.ts) skips.
 *  @param bytes whole blocks
 *  @returns packets in the order of the file, and the last statistics of each interface */
export function readPackets(bytes: Buffer): { packets: Packet[]; statistics: Map<number, Statistics> } {
  const packets: Packet[] = [];
  const statistics = new Map<number, Statistics>();
  for (let at = 0; at < bytes.length;) {
    const total = bytes.readUInt32LE(at + 4);
    const block = bytes.subarray(at, at + total);
    if (total < 12 || block.length !== total || block.readUInt32LE(total - 4) !== total)
      throw new RangeError(`the block at byte ${at} is not whole`);
    const type = block.readUInt32LE(0);
    if (type === PCAPNG_ENHANCED) packets.push(packetOf(block));
    else if (type === PCAPNG_STATISTICS) statistics.set(block.readUInt32LE(8), readStatistics(block));
    at += total;
  }
  return { packets, statistics };
}

function packetOf(block: Buffer): Packet {
  const kept = block.readUInt32LE(20);
  const out: Packet = {
    interfaceId: block.readUInt32LE(8),
    timeNs: stampAt(block, 12),
    bytes: block.subarray(28, 28 + kept),
    length: block.readUInt32LE(24),
    direction: 0,
    comment: null,
  };
  for (let at = 28 + ((kept + 3) & ~3); at + 8 <= block.length;) {
    const code = block.readUInt16LE(at);
    const length = block.readUInt16LE(at + 2);
    if (code === 0) break;
    if (code === OPTION_FLAGS) out.direction = block.readUInt32LE(at + 4) & 3;
    if (code === OPTION_COMMENT) out.comment = block.toString('utf8', at + 4, at + 4 + length);
    at += 4 + ((length + 3) & ~3);
  }
  return out;
}

/** One look at a file of that path. @throws Error as CounterReader.read, or the system's */
export function readCounterFile(path: string): BlockSnapshot[] {
  const fd = openSync(path, 'r');
  try {
    return new CounterReader(readerOf(fd)).read();
  } finally {
    closeSync(fd);
  }
}
