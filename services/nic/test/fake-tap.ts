/** A TAP device that is none: keeps the packets that are written to it, as a kernel would find them. */
import { type AddressSpace, VNET_BYTES } from '@grantline/machine';

export interface Written {
  flags: number;
  gsoType: number;
  headerBytes: number;
  gsoSize: number;
  packet: Buffer;
}

export class FakeTap {
  readonly vnet: boolean;
  readonly written: Written[] = [];
  /** Refuses what comes. */
  down = false;
  private readonly space: AddressSpace;

  constructor(space: AddressSpace, vnet = true) {
    this.space = space;
    this.vnet = vnet;
  }

  writev(iov: number, count: number): number {
    if (this.down) return -1;
    const { dv, u8 } = this.space.mem;
    const base = this.space.addressOf(0);
    const parts: Uint8Array[] = [];
    for (let i = 0; i < count; i++) {
      const at = iov - base + i * 16;
      const from = Number(dv.getBigUint64(at, true)) - base;
      parts.push(u8.slice(from, from + Number(dv.getBigUint64(at + 8, true))));
    }
    const all = Buffer.concat(parts);
    const header = this.vnet ? all.subarray(0, VNET_BYTES) : Buffer.alloc(VNET_BYTES);
    this.written.push({
      flags: header[0],
      gsoType: header[1],
      headerBytes: header.readUInt16LE(2),
      gsoSize: header.readUInt16LE(4),
      packet: all.subarray(this.vnet ? VNET_BYTES : 0),
    });
    return all.length;
  }
}
