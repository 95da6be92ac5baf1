/** UDP. Source: RFC 768; RFC 1122, 4.1. Datagrams are handed to the socket at once, where they lie. */
import {
  fastSum,
  foldSum,
  pseudoSum,
  PROTO_UDP,
  formatIp,
  UDP_BYTES,
  UDP_CHECK,
  UDP_DST,
  UDP_LENGTH,
  UDP_SRC,
  writeUdp,
} from '@grantline/frames';
import { C, type Host, RX_CHECKSUM_BLANK, RX_CHECKSUM_OK } from '../host.js';
import type { Icmp } from './icmp.js';
import { MAX_IP_PAYLOAD, type IpOut, type Packet } from './ipv4.js';

/** Takes a datagram: at..at+bytes in the stack's memory, valid during the call. */
export type UdpHandler = (at: number, bytes: number, srcIp: number, srcPort: number) => void;

export class UdpSocket {
  readonly port: number;
  readonly handler: UdpHandler;
  private readonly udp: Udp;

  constructor(udp: Udp, port: number, handler: UdpHandler) {
    this.udp = udp;
    this.port = port;
    this.handler = handler;
  }

  /** Sends a datagram, in fragments when it is longer than the MTU.
   *  @returns false when it could not be sent: no way, no room, too long */
  send(ip: number, port: number, data: Uint8Array): boolean {
    return this.udp.send(this.port, ip | 0, port, data);
  }

  close(): void {
    this.udp.close(this);
  }
}

export class Udp {
  private readonly host: Host;
  private readonly out: IpOut;
  private readonly icmp: Icmp;
  private readonly sockets = new Map<number, UdpSocket>();

  constructor(host: Host, out: IpOut, icmp: Icmp) {
    this.host = host;
    this.out = out;
    this.icmp = icmp;
  }

  /** @throws RangeError when the port is taken */
  bind(port: number, handler: UdpHandler): UdpSocket {
    if (!Number.isInteger(port) || port < 1 || port > 65535) throw new RangeError(`UDP port ${port} is out of range`);
    if (this.sockets.has(port)) throw new RangeError(`UDP port ${port} of ${formatIp(this.host.ip)} is in use`);
    const socket = new UdpSocket(this, port, handler);
    this.sockets.set(port, socket);
    return socket;
  }

  close(socket: UdpSocket): void {
    if (this.sockets.get(socket.port) === socket) this.sockets.delete(socket.port);
  }

  /** Takes a packet in one part. */
  input(packet: Packet): void {
    const { host } = this;
    const { mem, v } = host;
    v[C.udpIn]++;
    const { l4, l4Bytes } = packet;
    const bytes = l4Bytes < UDP_BYTES ? 0 : mem.dv.getUint16(l4 + UDP_LENGTH);
    if (bytes < UDP_BYTES || bytes > l4Bytes) {
      v[C.udpBadHeader]++;
      return;
    }
    const blank = (packet.flags & RX_CHECKSUM_BLANK) !== 0;
    const trusted = host.set.rxChecksum && (packet.flags & RX_CHECKSUM_OK) !== 0;
    if (!blank && !trusted && mem.dv.getUint16(l4 + UDP_CHECK) !== 0) {
      const sum = fastSum(mem, l4, bytes) + pseudoSum(packet.src, packet.dst, PROTO_UDP, bytes);
      if (foldSum(sum) !== 0xffff) {
        v[C.udpBadChecksum]++;
        return;
      }
    }
    const socket = this.sockets.get(mem.dv.getUint16(l4 + UDP_DST));
    if (socket === undefined) {
      v[C.udpNoPort]++;
      this.icmp.portUnreachable(packet);
      return;
    }
    socket.handler(l4 + UDP_BYTES, bytes - UDP_BYTES, packet.src >>> 0, mem.dv.getUint16(l4 + UDP_SRC));
  }

  send(from: number, ip: number, port: number, data: Uint8Array): boolean {
    const bytes = UDP_BYTES + data.length;
    if (bytes > MAX_IP_PAYLOAD) return false;
    const at = this.out.open(ip, PROTO_UDP, bytes);
    if (at < 0) return false;
    const { mem } = this.host;
    writeUdp(mem, at, from, port, bytes);
    mem.u8.set(data, at + UDP_BYTES);
    this.host.v[C.udpOut]++;
    this.out.finish(true);
    return true;
  }
}
