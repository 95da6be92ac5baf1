/** The requests under way: builds the requester, puts it on the loop and tells what it measured. */
import { slots, type CounterBlock, type AddressSpace } from '@grantline/machine';
import { REQUESTER_COUNTERS } from '@grantline/observe';
import { FlowTemplates, TEMPLATE_BYTES, GENERATOR_PORT, RESPOND_PORT } from '@grantline/frames';
import { type Cable, PACKET_MEMORY_BYTES } from '../data/cable.js';
import { Requester } from '../data/requester.js';
import type { Sink } from '../data/sink.js';
import { SENDER_IP, SENDER_MAC, type Loads, type SenderLoop } from './loads.js';
import type { RequestBody, RequestStatus } from './api-schemas.js';

const C = slots(REQUESTER_COUNTERS);
const PERCENTILES = [1, 5, 10, 25, 50, 75, 90, 95, 99, 99.5, 99.9, 99.99, 100];

export class Requests {
  private readonly o: {
    space: AddressSpace;
    cable: Cable;
    loop: SenderLoop;
    sink: Sink;
    counters: CounterBlock;
    loads: Pick<Loads, 'busy'>;
  };
  private templatesAt = -1;
  private requester: Requester | null = null;
  private body: RequestBody | null = null;

  constructor(options: Requests['o']) {
    this.o = options;
  }

  get busy(): boolean {
    return this.requester !== null && !this.requester.done;
  }

  /** As Loads.dueUs. */
  dueUs(): number {
    const { requester } = this;
    if (requester === null || requester.done) return Infinity;
    requester.scheduled = true;
    return Math.max(0, (requester.dueAtNs - this.o.cable.now) / 1000);
  }

  /** @throws RangeError when the frames cannot be made */
  start(body: RequestBody): void {
    const { space, cable, loop, sink, counters, loads } = this.o;
    this.end();
    if (this.templatesAt < 0) this.templatesAt = space.mapPrivate(TEMPLATE_BYTES);
    const flows = body.guests.map(({ mac, ip }, i) => ({
      ...{ flowId: i, guestIndex: i, dstMac: mac, srcMac: SENDER_MAC, dstIp: ip, srcIp: SENDER_IP },
      ...{ srcPort: GENERATOR_PORT, dstPort: RESPOND_PORT },
    }));
    const spec = { seed: body.seed, flows, sizes: [body.frameBytes], protocol: 'udp' as const };
    const templates = new FlowTemplates(space, spec, this.templatesAt);
    if (!loads.busy) cable.start({ gbps: body.linkGbps, pause: true, packetMemoryBytes: PACKET_MEMORY_BYTES });
    counters.reset();
    const requester = new Requester(cable, templates, counters, {
      flows: flows.length,
      inFlight: body.inFlight,
      perSecond: body.perSecond,
      timeoutNs: body.timeoutMs * 1e6,
    });
    this.requester = requester;
    this.body = body;
    sink.onRight = (flow, sequence) => requester.answered(flow, sequence);
    loop.add(requester);
  }

  /** Times count from now on. @returns false when there is no requester */
  measure(): boolean {
    this.requester?.measure();
    return this.requester !== null;
  }

  /** Asks nothing more; answers are still taken. */
  stop(): void {
    if (this.requester === null) return;
    this.requester.stop();
    this.o.loop.remove(this.requester);
  }

  /** Forgets it. @returns what asks again; null: nothing is being asked */
  suspend(): (() => void) | null {
    const body = this.busy ? this.body : null;
    this.end();
    return body === null ? null : () => this.start(body);
  }

  /** Forgets it. */
  end(): void {
    this.stop();
    this.requester = null;
    this.o.sink.onRight = null;
  }

  status(): RequestStatus {
    const { requester } = this;
    const v = this.o.counters.v;
    const count = requester?.rtt.count ?? 0;
    return {
      state: requester === null ? 'idle' : requester.done ? 'done' : 'running',
      requests: v[C.requests],
      answered: v[C.answered],
      timeouts: v[C.timeouts],
      late: v[C.late],
      repeated: v[C.repeated],
      inFlight: requester?.inFlight ?? 0,
      rtt:
        requester === null || count === 0
          ? null
          : {
              count,
              meanUs: requester.rtt.mean / 1000,
              minUs: requester.rtt.min / 1000,
              maxUs: requester.rtt.max / 1000,
              percentiles: PERCENTILES.map((p) => ({ percent: p, us: requester.rtt.percentile(p) / 1000 })),
            },
    };
  }
}
