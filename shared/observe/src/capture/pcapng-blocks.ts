/** Blocks of a pcapng file that are not packets, little-endian, and what a packet block consists of: the ring of a capture
 *  writes those in place (capture-ring.ts). What the section's block says of machine and program is asked here too (sectionInfo).
 *  Source: draft-ietf-opsawg-pcapng. docs/wire/capture.md. */
import { arch, cpus, release, type } from 'node:os';
import { buildInfo } from '@grantline/base';
import { PCAPNG_BYTE_ORDER, PCAPNG_INTERFACE, PCAPNG_SECTION } from './pcapng.js';
import { LINKTYPE_ETHERNET } from './capture.js';

/** Interface Statistics Block. */
export const PCAPNG_STATISTICS = 5;
/** Options of a packet block. */
export const OPTION_COMMENT = 1;
export const OPTION_FLAGS = 2;
/** Direction in the flags of a packet: the two low bits. */
export const INBOUND = 1;
export const OUTBOUND = 2;
/** Nanoseconds, as a power of ten. */
const TSRESOL_NS = 9;

// Options: of the section, of an interface, of its statistics.
const SHB_HARDWARE = 2;
const SHB_OS = 3;
const SHB_APPLICATION = 4;
const IF_NAME = 2;
const IF_DESCRIPTION = 3;
const IF_TSRESOL = 9;
const ISB_START = 2;
const ISB_END = 3;
const ISB_RECEIVED = 4;
const ISB_DROPPED = 5;

/** What a section tells about where it was written. */
interface SectionInfo {
  hardware: string;
  os: string;
  application: string;
}

/** One hop that is captured. */
interface InterfaceInfo {
  /** vif1.0:guest */
  name: string;
  description: string;
  /** Bytes kept of a frame at most. */
  snaplen: number;
}

/** What became of the frames of an interface. Times: nanoseconds since 1970. */
export interface Statistics {
  startNs: bigint;
  endNs: bigint;
  /** When this was so; not before any packet of the interface that stands before this block. */
  atNs: bigint;
  /** Frames that the probe saw, and those of them that the ring had no room for. */
  received: bigint;
  dropped: bigint;
}

/** What the header of a capture tells about the machine and the program. @param program its name */
export function sectionInfo(program: string): SectionInfo {
  const { version, revision } = buildInfo();
  return {
    hardware: `${cpus()[0]?.model.trim() ?? 'unknown processor'} (${arch()})`,
    os: `${type()} ${release()}`,
    application: `${program} ${version}${revision === '' ? '' : ` ${revision}`}`,
  };
}

/** Section header. */
export function sectionBlock(info: SectionInfo): Buffer {
  const body = Buffer.alloc(16);
  body.writeUInt32LE(PCAPNG_BYTE_ORDER, 0);
  body.writeUInt16LE(1, 4);
  body.writeUInt16LE(0, 6);
  // Length not told: the file may end at any block.
  body.writeBigInt64LE(-1n, 8);
  const options = [
    option(SHB_HARDWARE, text(info.hardware)),
    option(SHB_OS, text(info.os)),
    option(SHB_APPLICATION, text(info.application)),
  ];
  return block(PCAPNG_SECTION, body, options);
}

/** Description of an interface; they are numbered in the order of these blocks, from 0. */
export function interfaceBlock(info: InterfaceInfo): Buffer {
  const body = Buffer.alloc(8);
  body.writeUInt16LE(LINKTYPE_ETHERNET, 0);
  body.writeUInt32LE(info.snaplen, 4);
  const options = [
    option(IF_NAME, text(info.name)),
    option(IF_DESCRIPTION, text(info.description)),
    option(IF_TSRESOL, Buffer.of(TSRESOL_NS)),
  ];
  return block(PCAPNG_INTERFACE, body, options);
}

/** Statistics of an interface: ifrecv and ifdrop. */
export function statisticsBlock(id: number, s: Statistics): Buffer {
  const body = Buffer.alloc(12);
  body.writeUInt32LE(id, 0);
  stamp(s.atNs).copy(body, 4);
  const options = [
    option(ISB_START, stamp(s.startNs)),
    option(ISB_END, stamp(s.endNs)),
    option(ISB_RECEIVED, u64(s.received)),
    option(ISB_DROPPED, u64(s.dropped)),
  ];
  return block(PCAPNG_STATISTICS, body, options);
}

/** Reads what statisticsBlock wrote. @param block a whole statistics block */
export function readStatistics(bytes: Buffer): Statistics {
  const out: Statistics = { startNs: 0n, endNs: 0n, atNs: stampAt(bytes, 12), received: 0n, dropped: 0n };
  const end = bytes.length - 4;
  for (let at = 20; at + 4 <= end;) {
    const code = bytes.readUInt16LE(at);
    const length = bytes.readUInt16LE(at + 2);
    if (code === 0 || at + 4 + length > end) break;
    if (length === 8) {
      if (code === ISB_START) out.startNs = stampAt(bytes, at + 4);
      else if (code === ISB_END) out.endNs = stampAt(bytes, at + 4);
      else if (code === ISB_RECEIVED) out.received = bytes.readBigUInt64LE(at + 4);
      else if (code === ISB_DROPPED) out.dropped = bytes.readBigUInt64LE(at + 4);
    }
    at += 4 + ((length + 3) & ~3);
  }
  return out;
}

/** A time as it stands in blocks: the upper 32 bits first. */
export const stampAt = (bytes: Buffer, at: number): bigint =>
  (BigInt(bytes.readUInt32LE(at)) << 32n) | BigInt(bytes.readUInt32LE(at + 4));

function stamp(ns: bigint): Buffer {
  const out = Buffer.alloc(8);
  out.writeUInt32LE(Number(ns >> 32n), 0);
  out.writeUInt32LE(Number(ns & 0xffffffffn), 4);
  return out;
}

function u64(value: bigint): Buffer {
  const out = Buffer.alloc(8);
  out.writeBigUInt64LE(value);
  return out;
}

/** Option strings are UTF-8 and not zero-terminated; the length field has 16 bits. */
const text = (s: string): Buffer => Buffer.from(s, 'utf8').subarray(0, 1024);

function option(code: number, value: Buffer): Buffer {
  const out = Buffer.alloc(4 + ((value.length + 3) & ~3));
  out.writeUInt16LE(code, 0);
  out.writeUInt16LE(value.length, 2);
  value.copy(out, 4);
  return out;
}

function block(type: number, body: Buffer, options: Buffer[]): Buffer {
  const end = Buffer.alloc(4);
  const content = Buffer.concat([body, ...options, end]);
  const total = content.length + 12;
  const out = Buffer.alloc(total);
  out.writeUInt32LE(type, 0);
  out.writeUInt32LE(total, 4);
  content.copy(out, 8);
  out.writeUInt32LE(total, total - 4);
  return out;
}
