/** Who gets the frames that come out of the cable: those for the generator's address are the measuring sink's, all others,
 *  broadcasts among them, the station's. So a measured run and a station can be side by side. */
import { isMacAt, type Mac } from '@grantline/frames';
import { slots, type CounterBlock, type Mem, NIC_CPU, type Laps } from '@grantline/machine';
import { EGRESS_COUNTERS } from '@grantline/observe';
import type { FarEnd } from '../../hardware/data/cable-out.js';

const C = slots(EGRESS_COUNTERS);
const CPU = slots(NIC_CPU);

export class FarEndSwitch implements FarEnd {
  /** Who stands there by default. */
  station: FarEnd;
  private readonly mem: Mem;
  private readonly sink: FarEnd;
  private readonly mac: Mac;
  private readonly counters: CounterBlock;
  private readonly meter: Pick<Laps, 'lap'>;
  private forStation = false;

  /** @param mac address of the sink @param counters the cable's, named as EGRESS_COUNTERS */
  constructor(mem: Mem, sink: FarEnd, station: FarEnd, mac: Mac, counters: CounterBlock, meter: Pick<Laps, 'lap'>) {
    this.mem = mem;
    this.sink = sink;
    this.station = station;
    this.mac = mac;
    this.counters = counters;
    this.meter = meter;
  }

  get room(): number {
    const { sink, station } = this;
    return sink.room < station.room ? sink.room : station.room;
  }

  takesPackets(at: number): boolean {
    return this.station.takesPackets?.(at) === true && !isMacAt(this.mem, at, this.mac);
  }

  wholePacket(at: number, bytes: number, l4: number, header: number, mss: number): void {
    this.counters.v[C.toStation] += Math.ceil((bytes - header) / mss);
    this.forStation = true;
    this.station.wholePacket?.(at, bytes, l4, header, mss);
  }

  frame(head: number, headBytes: number, body: number, bodyBytes: number): void {
    if (isMacAt(this.mem, head, this.mac)) {
      this.sink.frame(head, headBytes, body, bodyBytes);
      return;
    }
    this.counters.v[C.toStation]++;
    this.forStation = true;
    this.station.frame(head, headBytes, body, bodyBytes);
  }

  settle(nowNs: number): void {
    this.sink.settle(nowNs);
    if (!this.forStation) return;
    this.forStation = false;
    this.meter.lap(CPU.farEnd);
    this.station.settle(nowNs);
    this.meter.lap(CPU.outer);
  }
}
