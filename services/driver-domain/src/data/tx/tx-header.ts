/** Reads the copied header of a packet from a guest: what the NIC has to be told for checksum and segmentation. The copy is
 *  ours; its contents are the guest's. */
import { NICTX_CSUM_TCP, NICTX_CSUM_UDP, NICTX_TSO, NETTXF_CSUM_BLANK } from '@grantline/xen';
import { IP_PROTOCOL, PROTO_UDP, UDP_BYTES } from '@grantline/frames';
import * as frames from '@grantline/frames';
import type { Mem } from '@grantline/machine';

// Local, so that the engine folds them into the code: see flow-templates.ts.
const { endOf, ipAt, l3Of, l4Of, tcpBehind } = frames;

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
    const { mem } = this;
    const ip = ipAt(mem, at, bytes);
    const l4 = l4Of(ip);
    if (ip >= 0 && mss === 0 && mem.u8[at + l3Of(ip) + IP_PROTOCOL] === PROTO_UDP && bytes >= l4 + UDP_BYTES) {
      this.csumStart = l4;
      this.flags = NICTX_CSUM_UDP;
      return true;
    }
    const tcp = tcpBehind(mem, at, bytes, ip);
    if (tcp < 0) return false;
    this.csumStart = l4;
    this.headerBytes = endOf(tcp);
    this.flags = mss > 0 ? NICTX_TSO | NICTX_CSUM_TCP : NICTX_CSUM_TCP;
    return true;
  }
}
