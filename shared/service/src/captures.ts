/** Captures of a service: its probes, and GET /capture, which streams what one of them sees as a pcapng file while the request
 *  lasts. docs/wire/capture.md. Only who has the domain's control key may: it is no open route (http.ts). */
import type { ServerResponse } from 'node:http';
import { Type } from '@sinclair/typebox';
import {
  CaptureRing,
  interfaceBlock,
  sectionBlock,
  statisticsBlock,
  FrameProbe,
  HOPS,
  type Hop,
  DEFAULT_RING_BYTES,
  MAX_RING_BYTES,
  MAX_SNAPLEN,
  MIN_RING_BYTES,
  CAPTURE_COUNTERS,
  sectionInfo,
} from '@grantline/observe';
import { epochOfClock, nowNs } from '@grantline/base';
import type { CounterBlock, CounterFile, AddressSpace } from '@grantline/machine';
import type { ServiceHttp } from './http.js';
import { refuse } from './refusal.js';

/** Captures at a time. */
export const MAX_CAPTURES = 4;

/** How often the ring is looked at, how often statistics are sent, milliseconds. */
const LOOK_MS = 4;
const STATISTICS_MS = 40;
const CHUNK_BYTES = 256 << 10;

const Query = Type.Object(
  {
    hop: Type.Union(HOPS.map((h) => Type.Literal(h))),
    vif: Type.String({ pattern: '^vif\\d{1,4}\\.\\d{1,2}$' }),
    /** Address of the vif: the nic knows no vifs. */
    mac: Type.Optional(Type.String({ pattern: '^[0-9a-f]{2}(:[0-9a-f]{2}){5}$' })),
    snaplen: Type.Integer({ minimum: 1, maximum: MAX_SNAPLEN, default: MAX_SNAPLEN }),
    buffer: Type.Integer({ minimum: MIN_RING_BYTES, maximum: MAX_RING_BYTES, default: DEFAULT_RING_BYTES }),
    /** Nanoseconds since 1970 at the origin of the monotonic clock: the same for all hops of a capture. */
    epoch: Type.Optional(Type.String({ pattern: '^\\d{1,19}$' })),
  },
  { additionalProperties: false },
);

export interface CapturesOptions {
  http: ServiceHttp;
  space: AddressSpace;
  counters: CounterFile;
  /** Hops that the service has. */
  hops: readonly Hop[];
  /** guest1, for descriptions. */
  domain: string;
}

export class Captures {
  private readonly o: CapturesOptions;
  private readonly probes = new Map<string, FrameProbe>();
  private readonly blocks: Map<Hop, CounterBlock>;
  /** Memory of rings that are not in use: offsets. */
  private readonly spare: number[] = [];
  private made = 0;
  /** Makes a probe of a kind of its own. */
  onProbe: (probe: FrameProbe, vif: string, mac: string | undefined) => void = () => {};

  /** Adds the route. */
  constructor(options: CapturesOptions) {
    this.o = options;
    const { counters, http } = options;
    this.blocks = new Map(options.hops.map((hop) => [hop, counters.block(CAPTURE_COUNTERS, { hop })]));
    for (const block of this.blocks.values()) block.commit();
    http.get(
      '/capture',
      { schema: { summary: 'Frames of a vif at a hop, as pcapng, while the request lasts', querystring: Query } },
      (request, reply) => {
        const { hop, vif, mac, snaplen, buffer, epoch } = request.query;
        const counted = this.blocks.get(hop);
        if (counted === undefined) return refuse(reply, 404, `${options.domain} has no such hop`);
        const memory = this.takeMemory();
        if (memory < 0) return refuse(reply, 503, `${MAX_CAPTURES} captures are under way already`);
        const bytes = buffer & ~3;
        options.space.mapPrivateAt(memory, bytes);
        const epochNs = epoch === undefined ? epochOfClock() : BigInt(epoch);
        const ring = new CaptureRing({
          ...{ mem: options.space.mem, at: memory, bytes, snaplen, epochNs, counters: counted },
        });
        const probe = this.probe(hop, vif, mac);
        reply.hijack();
        const raw = reply.raw;
        raw.writeHead(200, { 'content-type': 'application/x-pcapng', 'cache-control': 'no-store' });
        const name = `${vif}:${String(hop)}`;
        raw.write(sectionBlock(sectionInfo('grantline')));
        raw.write(interfaceBlock({ name, description: `${vif} in ${options.domain}`, snaplen }));
        probe.add(ring);
        const stream = new RingStream(ring, raw, epochNs, counted);
        raw.once('close', () => {
          stream.stop();
          probe.remove(ring);
          options.space.unmap(memory, Math.ceil(bytes / 4096) * 4096);
          this.spare.push(memory);
        });
        return reply;
      },
    );
  }

  /** The probe of a hop of a vif: made when new, else the one that there is. */
  probe(hop: Hop, vif: string, mac?: string): FrameProbe {
    const name = `${hop} ${vif} ${mac ?? ''}`;
    let probe = this.probes.get(name);
    if (probe === undefined) {
      probe = new FrameProbe();
      this.probes.set(name, probe);
      this.onProbe(probe, vif, mac);
    }
    return probe;
  }

  private takeMemory(): number {
    const spare = this.spare.pop();
    if (spare !== undefined) return spare;
    if (this.made === MAX_CAPTURES) return -1;
    this.made++;
    return this.o.space.reserve(MAX_RING_BYTES);
  }
}

/** Moves blocks from a ring to a socket, from the event loop, between turns of the data path. A socket that does not take more
 *  is waited for; meanwhile the ring fills, and then frames are counted as lost. */
class RingStream {
  private readonly ring: CaptureRing;
  private readonly raw: ServerResponse;
  private readonly epochNs: bigint;
  private readonly counters: CounterBlock;
  private readonly startNs: number;
  private readonly timer: NodeJS.Timeout;
  private blocked = false;
  private toldNs = 0;

  constructor(ring: CaptureRing, raw: ServerResponse, epochNs: bigint, counters: CounterBlock) {
    this.ring = ring;
    this.raw = raw;
    this.epochNs = epochNs;
    this.counters = counters;
    this.startNs = nowNs();
    this.timer = setInterval(() => this.look(), LOOK_MS);
    raw.on('drain', () => {
      this.blocked = false;
      this.look();
    });
    this.tell(this.startNs);
  }

  stop(): void {
    clearInterval(this.timer);
    this.counters.commit();
  }

  private look(): void {
    if (this.blocked) return;
    // Frames that come after this have later times: statistics with this time say that all before it has been sent.
    const now = nowNs();
    for (let block = this.ring.take(CHUNK_BYTES); block !== null; block = this.ring.take(CHUNK_BYTES)) {
      this.toldNs = 0;
      if (this.raw.write(block)) continue;
      this.blocked = true;
      return;
    }
    if (now - this.toldNs >= STATISTICS_MS * 1e6) this.tell(now);
  }

  private tell(now: number): void {
    this.toldNs = now;
    const { ring, startNs, epochNs } = this;
    const at = (ns: number): bigint => epochNs + BigInt(Math.round(ns));
    if (
      !this.raw.write(
        statisticsBlock(0, {
          ...{ startNs: at(startNs), endNs: at(now), atNs: at(now) },
          ...{ received: BigInt(ring.received), dropped: BigInt(ring.dropped) },
        }),
      )
    )
      this.blocked = true;
    this.counters.commit();
  }
}
