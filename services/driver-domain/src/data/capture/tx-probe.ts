/** Captures what netback takes from a guest: the copied header, and of the pages what can be read. docs/wire/capture.md. */
import { GRANT_ENTRIES, NETBACK_HEADER_BYTES } from '@grantline/xen';
import { NETBACK_TX_DROP, NOT_DROPPED, OUTBOUND, NO_PROBE, type FrameProbe } from '@grantline/observe';
import type { GrantPool } from '../grants/grant-pool.js';
import type { TxPackets } from '../tx/tx-packets.js';

export class TxProbe {
  /** Where to; replaced at connect. */
  probe: FrameProbe = NO_PROBE;
  private readonly packets: TxPackets;
  private readonly pool: GrantPool;
  private readonly headers: number;

  /** @param headers byte offset of the copied headers */
  constructor(packets: TxPackets, pool: GrantPool, headers: number) {
    this.packets = packets;
    this.pool = pool;
    this.headers = headers;
  }

  get on(): boolean {
    return this.probe.on;
  }

  /** A packet that goes on. */
  passed(packet: number): void {
    this.name(packet);
    this.end(this.packets.total[packet]);
  }

  /** @param readable false: the queue is stopped, and what it mapped may be gone
   *  @param reason slot of the counter in NETBACK_TX_COUNTERS */
  dropped(packet: number, readable: boolean, reason: number): void {
    if (readable) this.name(packet);
    else this.probe.begin();
    this.probe.end(this.packets.total[packet], OUTBOUND, NETBACK_TX_DROP + reason);
  }

  /** Names what of the packet is there to be read: the copied header, and pages whose mapping stands. `end` follows, or
   *  nothing when there is nothing to tell. */
  name(packet: number): void {
    const p = this.packets;
    const { probe, pool, headers } = this;
    probe.begin();
    if (p.status[packet] !== 0) return;
    probe.piece(headers + packet * NETBACK_HEADER_BYTES, p.headBytes[packet]);
    for (let s = packet; s >= 0; s = p.next[s]) {
      if (p.status[s] !== 0) return;
      if (p.size[s] === 0) continue;
      const gref = p.gref[s];
      const pooled = gref < GRANT_ENTRIES ? pool.at[gref] : -1;
      if (pooled < 0 && p.handle[s] < 0) return;
      probe.piece((pooled < 0 ? p.at[s] : pooled) + p.offset[s], p.size[s]);
    }
  }

  /** The packet that was named has gone on. @param bytes of it */
  end(bytes: number): void {
    this.probe.end(bytes, OUTBOUND, NOT_DROPPED);
  }
}
