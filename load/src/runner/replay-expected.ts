/** What a replayed capture must bring to each guest, worked out from the file alone. Pure.
 *
 *  A unicast frame for a guest's address goes to that guest; a group frame goes to all; a unicast frame for an address
 *  that nobody here has is flooded by the bridge unless the bridge has learned it, and a guest's stack may refuse it. So
 *  frames of the first two kinds must arrive, and those of the third may. */
import { createHash } from 'node:crypto';
import {
  type Capture,
  RECORD_BYTES_SURE,
  recordedBytes,
  STORE_BYTES,
  storedBytes,
  PCAP_HEADER_BYTES,
  PCAP_RECORD_BYTES,
  writePcap,
  type FrameRecord,
  keyAt,
  MacRewriter,
  type MacMapping,
} from '@grantline/observe';
import { ETH_BYTES, ETH_MAX_FRAME, ETH_MIN_FRAME, formatMac, isGroup, keyOf, macOf, parseMac } from '@grantline/frames';

/** Frames as a multiset: how often each came. The key is the frame's SHA-256. */
export class FrameBag {
  readonly count = new Map<string, number>();
  frames = 0;
  bytes = 0;

  add(frame: Uint8Array, times = 1): void {
    const key = createHash('sha256').update(frame).digest('base64');
    this.count.set(key, (this.count.get(key) ?? 0) + times);
    this.frames += times;
    this.bytes += frame.length * times;
  }
}

export interface Expected {
  /** One bag per guest: what must arrive. */
  must: FrameBag[];
  /** What may arrive at any guest. */
  may: FrameBag;
  /** Frames that nobody gets: too long for the wire. */
  unsendable: number;
}

/** Destination addresses of single stations, in order of first appearance. */
export function stationsOf(capture: Capture): string[] {
  const seen = new Set<number>();
  for (let i = 0; i < capture.count; i++) {
    if (capture.lengths[i] < ETH_BYTES) continue;
    const mac = keyAt(capture.bytes, capture.offsets[i]);
    if (!isGroup(macOf(mac).hi)) seen.add(mac);
  }
  return [...seen].map((mac) => formatMac(macOf(mac)));
}

/** Stations in order of appearance to guests in turn; `rules` (MAC to guest number, from 1) come first.
 *  @param guestMacs addresses of the guests that take part */
export function mappingsOf(
  stations: readonly string[],
  guestMacs: readonly string[],
  rules: readonly { mac: string; guest: number }[],
): MacMapping[] {
  if (rules.length > 0) return rules.map((r) => ({ from: r.mac, to: guestMacs[r.guest - 1] }));
  return stations
    .filter((mac) => !guestMacs.includes(mac))
    .map((from, i) => ({ from, to: guestMacs[i % guestMacs.length] }));
}

/** @param loops how often the capture is sent */
export function expectedOf(
  capture: Capture,
  mappings: readonly MacMapping[],
  guestMacs: readonly string[],
  loops: number,
): Expected {
  const rewriter = new MacRewriter(mappings);
  const guestOf = new Map(guestMacs.map((mac, i) => [keyOf(parseMac(mac)), i]));
  const must = guestMacs.map(() => new FrameBag());
  const may = new FrameBag();
  let unsendable = 0;
  for (let i = 0; i < capture.count; i++) {
    const length = capture.lengths[i];
    if (length > ETH_MAX_FRAME) {
      unsendable += loops;
      continue;
    }
    const frame = new Uint8Array(Math.max(length, ETH_MIN_FRAME));
    frame.set(capture.bytes.subarray(capture.offsets[i], capture.offsets[i] + length));
    rewriter.apply(frame, 0, frame.length);
    const to = keyAt(frame, 0);
    const guest = guestOf.get(to);
    if (guest !== undefined) must[guest].add(frame, loops);
    else if (isGroup(macOf(to).hi)) for (const bag of must) bag.add(frame, loops);
    else may.add(frame, loops);
  }
  return { must, may, unsendable };
}

/** What of a capture is sent. */
export interface Sendable {
  /** As a pcap, with the guests' addresses, for the NIC. */
  file: Uint8Array<ArrayBuffer>;
  frames: number;
  /** Nanoseconds from the first frame to the last. Frames go out in the order of the file: one that is earlier than the one
   *  before it goes out with it. */
  spanNs: number;
  /** Frames that are longer than the cable carries. */
  oversize: number;
}

export function sendableOf(capture: Capture, mappings: readonly MacMapping[]): Sendable {
  const frames: FrameRecord[] = [];
  let first = 0;
  let latest = 0;
  for (let i = 0; i < capture.count; i++) {
    const length = capture.lengths[i];
    latest = Math.max(latest, capture.timesNs[i]);
    if (length > ETH_MAX_FRAME) continue;
    if (frames.length === 0) first = latest;
    const at = capture.offsets[i];
    frames.push({ timeNs: latest - first, bytes: capture.bytes.subarray(at, at + length) });
  }
  const file = writePcap(frames);
  const rewriter = new MacRewriter(mappings);
  let at = PCAP_HEADER_BYTES;
  for (const { bytes } of frames) {
    rewriter.apply(file, at + PCAP_RECORD_BYTES, bytes.length);
    at += PCAP_RECORD_BYTES + bytes.length;
  }
  const oversize = capture.count - frames.length;
  return { file, frames: frames.length, spanNs: frames.at(-1)?.timeNs ?? 0, oversize };
}

/** @param guests how many take part; their addresses are not known yet @returns why it is too much for the NIC or for a guest,
 *  which keeps all that it gets; null: it is not */
export function tooLarge(
  capture: Capture,
  guests: number,
  rules: readonly { mac: string; guest: number }[],
  loops: number,
): string | null {
  const macs = Array.from({ length: guests }, (_, i) => formatMac(macOf(STAND_IN_MAC + i)));
  const to = new Map(
    mappingsOf(stationsOf(capture), macs, rules).map((m) => [keyOf(parseMac(m.from)), macs.indexOf(m.to)]),
  );
  const kept = new Float64Array(guests);
  let stored = 0;
  for (let i = 0; i < capture.count; i++) {
    const length = capture.lengths[i];
    if (length > ETH_MAX_FRAME) continue;
    stored += storedBytes(length);
    const guest = length < ETH_BYTES ? undefined : to.get(keyAt(capture.bytes, capture.offsets[i]));
    const bytes = recordedBytes(length) * loops;
    // Others may reach everybody.
    if (guest === undefined) for (let g = 0; g < guests; g++) kept[g] += bytes;
    else kept[guest] += bytes;
  }
  const most = Math.max(...kept);
  if (stored > STORE_BYTES)
    return `its frames need ${mib(stored)} MiB of the NIC's memory, which has ${mib(STORE_BYTES)}`;
  if (most > RECORD_BYTES_SURE)
    return `a guest would have to keep ${mib(most)} MiB of frames, and has room for ${mib(RECORD_BYTES_SURE)}`;
  return null;
}

/** Of no station in a capture: a group address would be none of a guest's. */
const STAND_IN_MAC = 0x02_ca_b1_e0_00_00;
const mib = (bytes: number): string => (bytes / 2 ** 20).toFixed(0);

export interface Difference {
  expectedFrames: number;
  expectedBytes: number;
  receivedFrames: number;
  receivedBytes: number;
  /** Expected and not received. */
  missing: number;
  /** Received and not expected. */
  extra: number;
}

/** Compares two multisets. A changed frame is one missing and one extra. */
export function compareBags(must: FrameBag, may: FrameBag, got: FrameBag): Difference {
  let missing = 0;
  let extra = 0;
  for (const [key, n] of must.count) missing += Math.max(0, n - (got.count.get(key) ?? 0));
  for (const [key, n] of got.count) extra += Math.max(0, n - (must.count.get(key) ?? 0) - (may.count.get(key) ?? 0));
  return {
    expectedFrames: must.frames,
    expectedBytes: must.bytes,
    receivedFrames: got.frames,
    receivedBytes: got.bytes,
    missing,
    extra,
  };
}
