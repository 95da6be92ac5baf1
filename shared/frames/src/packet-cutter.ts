/** Cuts a TCP packet that a station sends into frames, each of them in one piece, in place: a frame's header is written right
 *  before its payload, over the end of the payload before, which the NIC has by then. So no payload is copied. What changes
 *  from segment to segment: cut.ts. */
import { Cutter } from './cut.js';
import type { Mem, PrivateMemory } from '@grantline/machine';

const TEMPLATE_BYTES = 256;
const STAGE_BYTES = 65536;

export class PacketCutter {
  /** The frame at hand: a multiple of 4. */
  at = 0;
  bytes = 0;
  private readonly mem: Mem;
  private readonly cutter: Cutter;
  private readonly template: number;
  private readonly stage: number;
  private packet = 0;
  private done = 0;
  private n = 0;

  constructor(space: PrivateMemory) {
    this.mem = space.mem;
    this.cutter = new Cutter(space.mem);
    this.template = space.mapPrivate(TEMPLATE_BYTES + STAGE_BYTES);
    this.stage = this.template + TEMPLATE_BYTES;
  }

  /** Begins with a packet. @param packet a multiple of 4 @param place of its headers, as `tcpAt` found them */
  begin(packet: number, bytes: number, place: number, mss: number): void {
    const { cutter, template } = this;
    cutter.begin(packet, bytes, place, mss);
    this.mem.u8.copyWithin(template, packet, packet + cutter.header);
    this.packet = packet;
    this.done = 0;
    this.n = 0;
  }

  /** True while there are frames to come. */
  get more(): boolean {
    return this.done < this.cutter.payload;
  }

  /** Makes the next frame; the one before must have been taken. @returns false when there is none */
  next(): boolean {
    const { mem, cutter, done, template } = this;
    const { header, mss } = cutter;
    const left = cutter.payload - done;
    if (left <= 0) return false;
    const { u8, u16, u32 } = mem;
    const part = left < mss ? left : mss;
    let to = this.packet + done;
    // The NIC takes frames at multiples of 4 only; where segments have another size, they are copied.
    if ((to & 3) !== 0) {
      u8.copyWithin(this.stage + header, to + header, to + header + part);
      to = this.stage;
    }
    const words = header >> 2;
    for (let w = 0; w < words; w++) u32[(to >> 2) + w] = u32[(template >> 2) + w]!;
    if ((header & 2) !== 0) u16[(to + header - 2) >> 1] = u16[(template + header - 2) >> 1]!;
    cutter.write(to, this.n++, done, part, mem.bulk.sum(to + header, part));
    this.at = to;
    this.bytes = header + part;
    this.done += part;
    return true;
  }
}
