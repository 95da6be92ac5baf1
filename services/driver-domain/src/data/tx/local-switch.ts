/** Packets from one guest to another, and to all: what the bridge does with a packet that came in by a vif and does not
 *  (only) leave by the uplink. docs/wire/transmit.md section 8.
 *
 *  A bulk packet goes as it is to a guest that takes such (feature-gso-tcpv4), with its mss as extra info; for others it is cut
 *  here, in software: a header is made for each segment; the payload stays where it is. Checksums are not filled
 *  in: the receiver is told so, as netif has it. */
import { NETBACK_HEADER_BYTES, NETRXF_CSUM_BLANK, NETRXF_DATA_VALIDATED, NETTXF_CSUM_BLANK } from '@grantline/xen';
import { Cutter, ETH_MAX_FRAME, tcpAt, TO_ALL } from '@grantline/frames';
import type { Mem } from '@grantline/machine';
import { MAX_BULK_FRAMES } from '@grantline/measure';
import { UPLINK, handTo, type Bridge } from '../bridge/bridge.js';
import { FOREIGN, FOREIGN_FRAMES, FOREIGN_HEADER_BYTES, type ForeignFrames, type TxSource } from '../bridge/buffers.js';

export type { TxSource } from '../bridge/buffers.js';

/** What `take` returns when the packet was not taken. */
export const NOBODY = 0;
export const NO_ROOM = -1;
export const TOO_LONG = -2;

/** Frames that wait for one sender, for each that is left to the others. */
const SHARE = 3;

export class LocalSwitch {
  private readonly mem: Mem;
  private readonly bridge: Bridge;
  private readonly frames: ForeignFrames;
  private readonly cutter: Cutter;
  private readonly indices = new Int16Array(FOREIGN_FRAMES);

  constructor(mem: Mem, bridge: Bridge, frames: ForeignFrames) {
    this.mem = mem;
    this.bridge = bridge;
    this.frames = frames;
    this.cutter = new Cutter(mem);
  }

  /** Takes a packet whose header and pages are at hand; `from.copied` is called when it is done with it.
   *  @param to port of the bridge, or TO_ALL: all vifs but `ingress`
   *  @param headerBytes of all its headers, when it has an mss
   *  @returns frames that were handed to vifs; NOBODY; NO_ROOM: too many are under way; or TOO_LONG */
  take(from: TxSource, packet: number, to: number, ingress: number, headerBytes: number): number {
    const { mem, frames, bridge, cutter } = this;
    const p = from.packets;
    const total = p.total[packet];
    const mss = p.mss[packet];
    const bulk = mss > 0 && total > headerBytes + mss;
    const segments = bulk ? Math.ceil((total - headerBytes) / mss) : 1;
    // One receiver that takes it as it is gets it so; else it is cut here.
    const whole =
      bulk && to !== TO_ALL && segments <= MAX_BULK_FRAMES && bridge.portAt(to)?.takesBulk?.(total) === true;
    const cut = bulk && !whole;
    const count = cut ? segments : 1;
    // Segmentation is the sender's, or ours, not the receiver's.
    if ((bulk ? headerBytes + mss : total) > ETH_MAX_FRAME) return TOO_LONG;
    const first = to === TO_ALL ? UPLINK + 1 : to;
    const last = to === TO_ALL ? bridge.lastPort : to;
    let receivers = 0;
    for (let port = first; port <= last; port++) if (port !== ingress && bridge.portAt(port) !== null) receivers++;
    if (receivers === 0) return NOBODY;
    // No more than three times what it leaves: packets to a guest that takes nothing must not use up all.
    if (p.lent + count > SHARE * (frames.room - count)) return NO_ROOM;
    const blank = mss > 0 || (p.flags[packet] & NETTXF_CSUM_BLANK) !== 0;
    const flags = blank ? NETRXF_CSUM_BLANK | NETRXF_DATA_VALIDATED : NETRXF_DATA_VALIDATED;
    const headers = from.headersAt + packet * NETBACK_HEADER_BYTES;
    // TxHeader has found them there: they are our copy.
    if (cut) cutter.begin(headers, total, tcpAt(mem, headers, headerBytes), mss);
    frames.begin();
    // All are made before one is handed on: a receiver that drops it lets go of it at once.
    let made = 0;
    for (let k = 0; k < count; k++) {
      const at = cut ? headerBytes + k * mss : 0;
      const bytes = cut ? Math.min(mss, total - at) : total;
      const i = frames.make(from, packet, cut ? headerBytes : 0, at, bytes, flags);
      if (whole) frames.bulk(i, mss, segments);
      if (cut) {
        const h = frames.headersAt + i * FOREIGN_HEADER_BYTES;
        mem.u8.copyWithin(h, headers, headers + headerBytes);
        cutter.write(h, k, k * mss, bytes, 0);
        cutter.blank(h, bytes);
      }
      this.indices[made++] = i;
    }
    for (let k = 0; k < count; k++) {
      const i = this.indices[k];
      for (let port = first; port <= last; port++) {
        const receiver = port === ingress ? null : bridge.portAt(port);
        if (receiver !== null) handTo(receiver, FOREIGN + i, frames.len(i));
      }
    }
    for (let k = 0; k < count; k++) frames.release(this.indices[k]);
    return segments * receivers;
  }

  /** The sender goes: what of it waits anywhere is dropped. Copies that are under way end first (`packets.lent`). */
  leave(from: TxSource): void {
    const { bridge } = this;
    for (let port = UPLINK + 1; port <= bridge.lastPort; port++) bridge.portAt(port)?.dropFrom?.(from);
  }
}

/** What those who send use of it. */
export type TxLocal = Pick<LocalSwitch, 'take' | 'leave'>;
