/** Reads the copied header of a packet from a guest: what the NIC has to be told for checksum and segmentation. The copy is
 *  ours; its contents are the guest's. */
import { NICTX_CSUM_TCP, NICTX_CSUM_UDP, NICTX_TSO, NETTXF_CSUM_BLANK } from '@grantline/xen';
import {
  ETH_BYTES,
  ipv4Start,
  IP_BYTES,
  IP_PROTOCOL,
  PROTO_TCP,
  PROTO_UDP,
  TCP_BYTES,
  TCP_OFFSET,
  UDP_BYTES,
} from '@grantline/frames';
import type { Mem } from '@grantline/machine';

export class TxHeader {
  /** For the packet's first descriptor: NICTX_*, where the TCP or UDP header begins, bytes of all headers. */
  flags = 0;
  csumStart = 0;
  headerBytes = 0;
  private readonly mem: Mem;

  constructor(mem: Mem) {
    this.mem = mem;
  }

  /** @param at byte offset of the header, @param bytes how much of the packet was copied
   *  @param netif NETTXF_* of the first slot @param mss of its extra info, 0: none
   *  @returns false when the packet asks for what its headers do not allow */
  read(at: number, bytes: number, netif: number, mss: number): boolean {
    this.flags = 0;
    this.csumStart = 0;
    this.headerBytes = 0;
    if (mss === 0 && (netif & NETTXF_CSUM_BLANK) === 0) return true;
    const { u8 } = this.mem;
    if (bytes < ETH_BYTES + IP_BYTES) return false;
    const ip = ipv4Start(this.mem, at, bytes);
    const ihl = (u8[at + ip] & 15) << 2;
    const l4 = ip + ihl;
    if (ip < 0 || u8[at + ip] >>> 4 !== 4 || ihl < IP_BYTES || bytes < l4 + UDP_BYTES) return false;
    const protocol = u8[at + ip + IP_PROTOCOL];
    this.csumStart = l4;
    if (protocol === PROTO_UDP && mss === 0) {
      this.flags = NICTX_CSUM_UDP;
      return true;
    }
    if (protocol !== PROTO_TCP || bytes < l4 + TCP_BYTES) return false;
    const thl = (u8[at + l4 + TCP_OFFSET] >>> 4) << 2;
    if (thl < TCP_BYTES || l4 + thl > bytes) return false;
    this.headerBytes = l4 + thl;
    this.flags = mss > 0 ? NICTX_TSO | NICTX_CSUM_TCP : NICTX_CSUM_TCP;
    return true;
  }
}
