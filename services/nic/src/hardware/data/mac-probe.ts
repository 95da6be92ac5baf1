/** Captures at the wire: the NIC knows no vifs, so a frame is a vif's by its address, and group-addressed ones are
 *  everybody's. docs/wire/capture.md. */
import {
  NIC_DROP,
  NIC_QUEUE_DROP,
  NIC_TX_DROP,
  NOT_DROPPED,
  INBOUND,
  OUTBOUND,
  type FrameProbe,
} from '@grantline/observe';
import { ETH_BYTES, ETH_SRC, isGroup, isMacAt, macHi, parseMac, type Mac } from '@grantline/frames';
import { memOver, type Mem } from '@grantline/machine';

interface Station {
  probe: FrameProbe;
  vif: string;
  mac: Mac;
}

export class MacProbe {
  /** Somebody captures: the only thing that the path asks. */
  on = false;
  /** Why the frame at hand was dropped: set where it is counted, used by `rx`. */
  reason = NOT_DROPPED;
  private readonly mem: Mem;
  private readonly stations: Station[] = [];

  constructor(mem: Mem) {
    this.mem = mem;
  }

  /** A probe for the frames of one vif. @param mac aa:bb:cc:dd:ee:ff */
  add(probe: FrameProbe, vif: string, mac: string): void {
    this.stations.push({ probe, vif, mac: parseMac(mac) });
    probe.onChange = () => {
      this.on = this.stations.some((s) => s.probe.on);
      this.reason = NOT_DROPPED;
    };
  }

  /** The NIC as a whole drops the frame at hand. @param slot in NIC_COUNTERS */
  dropped(slot: number): void {
    this.reason = NIC_DROP + slot;
  }

  /** A queue drops it. @param slot in NIC_QUEUE_COUNTERS */
  droppedByQueue(slot: number): void {
    this.reason = NIC_QUEUE_DROP + slot;
  }

  /** A frame from the wire has been dealt with. */
  rx(at: number, bytes: number): void {
    const { mem } = this;
    for (let i = 0; i < this.stations.length; i++) {
      const s = this.stations[i];
      if (s.probe.on && bytes >= ETH_BYTES && (isGroup(macHi(mem, at)) || isMacAt(mem, at, s.mac)))
        s.probe.frame(at, bytes, INBOUND, this.reason);
    }
    this.reason = NOT_DROPPED;
  }

  /** A frame goes onto the wire, in one or two pieces. */
  tx(head: number, headBytes: number, body: number, bodyBytes: number): void {
    for (let i = 0; i < this.stations.length; i++) {
      const { probe, mac } = this.stations[i];
      if (!probe.on || headBytes < ETH_BYTES || !isMacAt(this.mem, head + ETH_SRC, mac)) continue;
      probe.begin();
      probe.piece(head, headBytes);
      probe.piece(body, bodyBytes);
      probe.end(headBytes + bodyBytes, OUTBOUND, NOT_DROPPED);
    }
  }

  /** A packet in a transmit queue was refused: its bytes were not, or must not be, read. A queue that several vifs share
   *  tells nobody's. @param slot in NIC_TX_COUNTERS */
  refused(queue: string, bytes: number, slot: number): void {
    for (let i = 0; i < this.stations.length; i++) {
      const { probe, vif } = this.stations[i];
      if (!probe.on || vif !== queue) continue;
      probe.begin();
      probe.end(bytes, OUTBOUND, NIC_TX_DROP + slot);
    }
  }
}

/** For whoever has not been given one: never on. */
export const NO_MAC_PROBE = new MacProbe(memOver(new ArrayBuffer(0)));
