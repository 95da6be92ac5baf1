/** The frontend's half of a vif's handshake. docs/wire/control-plane.md section 7; source: Linux xen-netfront.c,
 *  netback_changed.
 *
 *      backend       we
 *      InitWait      with an offer that we have not answered: give back what there is, sample the factors of the offer's
 *                    generation, allocate, grant, write keys, the offer and Connected
 *      Connected     start: buffers are posted
 *      Closing       stop the pollers
 *      Closed, gone  give everything back, Closed
 *
 *  An offer whose generation is over is not answered: the backend sees the new generation too, and offers again. What
 *  changes while we connect makes us start over. A backend that did something impossible is not talked to again before
 *  the next generation: with the same one it would only do it again. */
import { XENBUS, type XenbusState } from '../abi/xenbus.js';
import { sampleFactors, type Factors } from '@grantline/base';
import { parseNumber, type XenstoreOp } from '../hypervisor/xenstore-client.js';
import { NotNow } from '../hypervisor/hypervisor-port.js';
import { OFFER, OFFER_ACK, VifEnd, messageOf, offerGeneration, type VifEndOptions } from './vif-end.js';

export interface FrontendHooks {
  /** Allocates and grants everything; on failure all is given back.
   *  @throws Error telling what was missing; NotNow when it may be there soon */
  open(generation: number, factors: Factors): Promise<void>;
  /** The keys for netback, and what removes those of an earlier connection. */
  keys(): Promise<XenstoreOp[]>;
  /** Netback is connected. Called again whenever it says so. */
  start(): void;
  /** Pollers stop; nothing is given back yet. */
  stop(): void;
  /** Gives everything back: netback uses nothing of it any more. */
  close(): Promise<void>;
}

export interface FrontendOptions extends VifEndOptions {
  hooks: FrontendHooks;
}

export class XenbusFrontend extends VifEnd {
  private readonly o: FrontendOptions;
  /** Something is allocated and granted. */
  private held = false;
  /** The offer that our keys answer. */
  private answered: string | null = null;
  /** The generation that we connect with. */
  private generation = -1;

  constructor(options: FrontendOptions) {
    super(options, options.front, XENBUS.initialising);
    this.o = options;
  }

  /** The service ends: nothing is served any more, and netback is told. The memory is the hypervisor's to take back. */
  async end(): Promise<void> {
    await this.follower.end();
    this.o.hooks.stop();
    await this.become(XENBUS.closing).catch(() => undefined);
  }

  protected async step(): Promise<void> {
    if (this.fault !== null) await this.refuse(this.generation, this.fault);
    // No state: the directory is gone, and with it the backend.
    const backend = parseNumber(await this.readBack('state')) ?? XENBUS.closed;
    switch (backend) {
      case XENBUS.initWait:
        return this.answer();
      case XENBUS.connected:
        if (this.answered !== null && this.state === XENBUS.connected) this.o.hooks.start();
        return;
      case XENBUS.closing:
        this.o.hooks.stop();
        return;
      case XENBUS.closed:
        await this.giveBack();
        await this.become(XENBUS.closed);
        return this.forgetError();
      default:
        return;
    }
  }

  private async answer(): Promise<void> {
    const offer = await this.readBack(OFFER);
    // Watches may fire for nothing.
    if (this.answered !== null && this.answered === offer) return;
    // A netback that offers anew has let go of everything.
    await this.giveBack();
    const generation = offerGeneration(offer);
    if (offer === null || generation === null || generation === this.refused) return this.become(XENBUS.closed);
    const sample = await sampleFactors((key) => this.readBack(key));
    if (sample === null || sample.generation !== generation) return;
    if (sample.factors === null) return this.fail(generation, sample.error);
    this.generation = generation;
    this.fault = null;
    try {
      await this.o.hooks.open(generation, sample.factors);
      this.held = true;
    } catch (err) {
      if (err instanceof NotNow) {
        await this.tell(err.message);
        throw err;
      }
      if (await this.isStillOffered(offer, generation)) return this.fail(generation, messageOf(err));
      return void this.look();
    }
    if (await this.isStillOffered(offer, generation)) return this.publish(offer, generation);
    await this.giveBack();
    void this.look();
  }

  /** @returns true when the backend still waits with that offer, and the generation is still the one of the offer */
  private async isStillOffered(offer: string, generation: number): Promise<boolean> {
    return (
      (await this.readBack('generation')) === String(generation) &&
      (await this.readBack(OFFER)) === offer &&
      parseNumber(await this.readBack('state')) === XENBUS.initWait
    );
  }

  /** All keys at once, and no key of an earlier connection beside them. */
  private async publish(offer: string, generation: number): Promise<void> {
    await this.store.transaction([
      ...(await this.o.hooks.keys()),
      this.put('generation-ack', generation),
      this.put(OFFER_ACK, offer),
      this.put('state', XENBUS.connected),
    ]);
    this.state = XENBUS.connected;
    this.answered = offer;
    this.error = null;
  }

  private async giveBack(): Promise<void> {
    if (!this.held) return;
    if (this.fault !== null) await this.refuse(this.generation, this.fault);
    this.answered = null;
    await this.o.hooks.close();
    this.held = false;
    await this.become(XENBUS.closed);
  }

  /** We cannot connect with this generation. */
  private async fail(generation: number, reason: string): Promise<void> {
    await this.refuse(generation, reason);
    await this.become(XENBUS.closed);
  }

  /** Told as Closing; what is granted stays so until the backend is Closed. */
  private async refuse(generation: number, reason: string): Promise<void> {
    this.fault = null;
    this.refused = generation;
    this.o.hooks.stop();
    this.o.log.warn({ reason }, 'vif broken');
    await this.tell(reason);
    await this.become(XENBUS.closing);
  }

  /** An error is of one generation. A connection takes it away with the other old keys; `native` makes none. */
  protected override async forgetError(): Promise<void> {
    if (this.error !== null && (await this.readBack('generation')) !== String(this.refused)) await super.forgetError();
  }

  protected override async become(state: XenbusState): Promise<void> {
    if (this.state !== state) await super.become(state);
  }
}
