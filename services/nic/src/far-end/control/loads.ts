/** The load under way: at most one. Builds senders, puts them on the loop and takes them off. */
import { GENERATOR_IP, GENERATOR_MAC, MAX_GUESTS } from '@grantline/base';
import type { Capture, MacRewriter } from '@grantline/observe';
import { FlowTemplates, type FlowSpec, GENERATOR_PORT, IMIX_BYTES, TEMPLATE_BYTES } from '@grantline/frames';
import type { DataLoop, AddressSpace } from '@grantline/machine';
import type { Cable } from '../data/cable.js';
import { CaptureStore, Replay, type LoadedCapture } from '../data/replay.js';
import { Generator, HOLD_BYTES, imixOrder } from '../data/generator.js';
import type { GenerateBody, LoadStatus, ReplayBody } from './api-schemas.js';

/** The station at the far end of the cable; locally administered, and no guest's. */
export const SENDER_MAC = GENERATOR_MAC;
export const SENDER_IP = GENERATOR_IP;
/** First source port of the flows. */
const FIRST_PORT = 10000;

interface Running {
  kind: 'generate' | 'replay';
  run: string | null;
  sender: Generator | Replay;
  /** Starts the same load. */
  again: () => void;
}

/** What this needs of DataLoop. */
export type SenderLoop = Pick<DataLoop, 'add' | 'remove'>;

export class Loads {
  private readonly space: AddressSpace;
  private readonly cable: Cable;
  private readonly loop: SenderLoop;
  private readonly store: CaptureStore;
  /** Byte offset of the memory for templates, the same for each load, for there is one at a time, and of that for held frames; -1: not
   *  mapped yet. */
  private templatesAt = -1;
  private holdAt = -1;
  private capture: LoadedCapture | null = null;
  private captureCut = 0;
  /** What the capture was loaded from. */
  private source: { capture: Capture; rewriter: MacRewriter } | null = null;
  private running: Running | null = null;

  constructor(space: AddressSpace, cable: Cable, loop: SenderLoop) {
    this.space = space;
    this.cable = cable;
    this.loop = loop;
    this.store = new CaptureStore(space);
    cable.loadIsOn = () => this.busy;
  }

  /** True while frames are being sent. */
  get busy(): boolean {
    return this.running !== null && !this.running.sender.done;
  }

  get hasCapture(): boolean {
    return this.capture !== null;
  }

  /** Microseconds until the sender wants to run; Infinity when none does. Asked right before the loop sleeps, so the
   *  sender is put back on the list here: whatever ends the sleep, it looks. */
  dueUs(): number {
    const sender = this.running?.sender;
    if (sender === undefined || sender.done) return Infinity;
    sender.scheduled = true;
    return Math.max(0, (sender.dueAtNs - this.cable.now) / 1000);
  }

  /** Loads a capture in place of the one before. Not while frames are being sent.
   *  @throws RangeError when it is too large */
  setCapture(capture: Capture, rewriter: MacRewriter): void {
    this.forgetCapture();
    this.capture = this.store.load(capture, rewriter);
    this.captureCut = capture.cut;
    this.source = { capture, rewriter };
  }

  /** @throws RangeError when the templates cannot be made */
  generate(body: GenerateBody): void {
    const imix = body.frameBytes === 'imix';
    const sizes = imix ? IMIX_BYTES : [body.frameBytes as number];
    const spec = { seed: body.seed, flows: flowsOf(body), sizes, protocol: body.protocol };
    // Each under a test of its own: the second may fail, and what there is of the first serves the next load.
    if (this.templatesAt < 0) this.templatesAt = this.space.mapPrivate(TEMPLATE_BYTES);
    if (this.holdAt < 0) this.holdAt = this.space.mapPrivate(MAX_GUESTS * HOLD_BYTES);
    const templates = new FlowTemplates(this.space, spec, this.templatesAt);
    const plan = {
      guests: body.guests.length,
      flowsPerGuest: body.flowsPerGuest,
      order: imix ? imixOrder(body.seed) : new Uint8Array(1),
      maxFrames: body.maxFrames ?? Infinity,
      holdAt: this.holdAt,
    };
    this.cable.start({ gbps: body.linkGbps, pause: body.pause, packetMemoryBytes: body.packetMemoryBytes });
    const sender = new Generator(this.space.mem.u8, this.cable, templates, plan);
    this.start({ kind: 'generate', run: body.run ?? null, sender, again: () => this.generate(body) });
  }

  /** The caller has checked `hasCapture`. */
  replay(body: ReplayBody): void {
    const factor = body.pace === 'recorded' ? 1 : body.pace === 'max' ? Infinity : body.pace;
    this.cable.start({ gbps: body.linkGbps, pause: body.pause, packetMemoryBytes: body.packetMemoryBytes });
    const sender = new Replay(this.cable, this.capture!, { factor, loops: body.loops });
    this.start({ kind: 'replay', run: body.run ?? null, sender, again: () => this.replay(body) });
  }

  /** Forgets the capture, and gives its memory back. */
  private forgetCapture(): void {
    if (this.capture === null) return;
    this.capture = null;
    this.source = null;
    this.store.forget();
  }

  /** @returns what brings the capture back that is loaded now, or that there is none */
  keepCapture(): () => void {
    const { source } = this;
    return () => {
      if (this.source === source) return;
      if (source === null) this.forgetCapture();
      else this.setCapture(source.capture, source.rewriter);
    };
  }

  /** Stops sending. @returns what sends the same again, from the beginning; null: nothing is being sent */
  suspend(): (() => void) | null {
    const again = this.busy ? this.running!.again : null;
    this.stop();
    return again;
  }

  /** Stops sending and tells drivers what they have not been told yet. */
  stop(): void {
    if (this.running === null) return;
    this.running.sender.stop();
    this.loop.remove(this.running.sender);
    this.running = null;
    this.cable.nic.moderate(true);
    this.cable.counters.commit();
  }

  status(): LoadStatus {
    const r = this.running;
    const progress = r?.sender.progress() ?? { sentFrames: 0, heldFrames: 0 };
    return {
      state: r === null ? 'idle' : r.sender.done ? 'done' : 'running',
      kind: r?.kind ?? null,
      run: r?.run ?? null,
      sentFrames: progress.sentFrames,
      heldFrames: progress.heldFrames,
      capture: this.capture === null ? null : { frames: this.capture.count, cut: this.captureCut },
    };
  }

  private start(next: Running): void {
    this.stop();
    this.running = next;
    this.loop.add(next.sender);
  }
}

function flowsOf(body: GenerateBody): FlowSpec[] {
  return body.guests.flatMap(({ mac, ip }, guestIndex) =>
    Array.from({ length: body.flowsPerGuest }, (_, k) => ({
      flowId: guestIndex * body.flowsPerGuest + k,
      guestIndex,
      dstMac: mac,
      srcMac: SENDER_MAC,
      dstIp: ip,
      srcIp: SENDER_IP,
      srcPort: FIRST_PORT + k,
      dstPort: GENERATOR_PORT,
    })),
  );
}
