/** Cuts a TCP packet of up to 64 KiB into frames without moving its payload: the headers of each frame are written right in
 *  front of its payload, over the end of the frame before, which the NIC has taken by then. What the station's own network
 *  card would do (segmenter.ts is the NIC's). Same fields as there change from frame to frame: Linux, tcp_gso_segment. */
import {
  ETH_BYTES,
  foldNative,
  nativeSum,
  IP_CHECK,
  IP_ID,
  IP_LENGTH,
  IP_SRC,
  PROTO_TCP,
  TCP_CHECK,
  TCP_CWR,
  TCP_FIN,
  TCP_FLAGS,
  TCP_PSH,
  TCP_SEQ,
} from '@grantline/frames';
import type { Mem, PrivateMemory } from '@grantline/machine';

/** The stack's packets have no IP options. */
const TCP = ETH_BYTES + 20;
const TEMPLATE_BYTES = 128;
/** A frame with the longest segment that a peer can ask for. */
const SCRATCH_BYTES = 1 << 16;
const swap16 = (n: number): number => ((n & 0xff) << 8) | (n >>> 8);

export class InPlaceCut {
  /** The frame at hand. */
  at = 0;
  bytes = 0;
  private readonly mem: Mem;
  /** Headers of the packet, with everything zero that changes. */
  private readonly template: number;
  private readonly scratch: number;
  private packet = -1;
  private total = 0;
  private mss = 0;
  private header = 0;
  private done = 0;
  private flags = 0;
  private id = 0;
  private sequence = 0;
  private ipSum = 0;
  private tcpSum = 0;

  constructor(space: PrivateMemory) {
    this.mem = space.mem;
    this.template = space.mapPrivate(TEMPLATE_BYTES);
    this.scratch = space.mapPrivate(SCRATCH_BYTES);
  }

  /** Begins with a packet. @param at a multiple of 4 */
  begin(at: number, bytes: number, mss: number): void {
    const { mem, template } = this;
    const { dv, u8, u16 } = mem;
    this.packet = at;
    this.total = bytes;
    this.mss = mss;
    this.done = 0;
    const header = (this.header = TCP + ((u8[at + TCP + 12] >>> 4) << 2));
    u8.copyWithin(template, at, at + header);
    const ip = template + ETH_BYTES;
    const tcp = template + TCP;
    this.flags = u8[tcp + TCP_FLAGS];
    this.id = dv.getUint16(ip + IP_ID);
    this.sequence = dv.getUint32(tcp + TCP_SEQ);
    u16[(ip + IP_LENGTH) >> 1] = 0;
    u16[(ip + IP_ID) >> 1] = 0;
    u16[(ip + IP_CHECK) >> 1] = 0;
    dv.setUint32(tcp + TCP_SEQ, 0);
    u8[tcp + TCP_FLAGS] = 0;
    u16[(tcp + TCP_CHECK) >> 1] = 0;
    this.ipSum = nativeSum(mem, ip, TCP - ETH_BYTES);
    this.tcpSum = nativeSum(mem, tcp, header - TCP) + nativeSum(mem, ip + IP_SRC, 8) + swap16(PROTO_TCP);
    this.make();
  }

  /** The frame at hand has been taken. @returns false when it was the last */
  next(): boolean {
    this.done += this.bytes - this.header;
    if (this.done >= this.total - this.header) return false;
    this.make();
    return true;
  }

  private make(): void {
    const { mem, template, header, done, mss } = this;
    const { dv, u8, u16, u32 } = mem;
    const left = this.total - header - done;
    const part = left < mss ? left : mss;
    // The NIC takes frames at multiples of 4 only; where the peer's segments have another size, they are copied.
    const aligned = (mss & 3) === 0;
    const at = aligned ? this.packet + done : this.scratch;
    this.at = at;
    this.bytes = header + part;
    if (!aligned) u8.copyWithin(at + header, this.packet + header + done, this.packet + header + done + part);
    // All but the last two bytes of 54 + options are whole words.
    const words = header >> 2;
    for (let w = 0; w < words; w++) u32[(at >> 2) + w] = u32[(template >> 2) + w];
    for (let i = words << 2; i < header; i++) u8[at + i] = u8[template + i];
    const ipBytes = header - ETH_BYTES + part;
    const id = (this.id + done / mss) & 0xffff;
    const sequence = (this.sequence + done) >>> 0;
    let flags = this.flags;
    if (part < left) flags &= ~(TCP_FIN | TCP_PSH);
    if (done > 0) flags &= ~TCP_CWR;
    const ip = at + ETH_BYTES;
    const tcp = at + TCP;
    dv.setUint16(ip + IP_LENGTH, ipBytes);
    dv.setUint16(ip + IP_ID, id);
    u16[(ip + IP_CHECK) >> 1] = ~foldNative(this.ipSum + swap16(ipBytes) + swap16(id)) & 0xffff;
    dv.setUint32(tcp + TCP_SEQ, sequence);
    u8[tcp + TCP_FLAGS] = flags;
    // The flags are the low byte of a big-endian word: the high one of a little-endian.
    const sum =
      this.tcpSum +
      (flags << 8) +
      swap16(sequence >>> 16) +
      swap16(sequence & 0xffff) +
      swap16(header - TCP + part) +
      nativeSum(mem, at + header, part);
    u16[(tcp + TCP_CHECK) >> 1] = ~foldNative(sum) & 0xffff;
  }
}
