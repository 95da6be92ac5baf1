/** The backend's half of a vif's handshake. docs/wire/control-plane.md section 7; source: Linux xen-netback xenbus.c,
 *  frontend_changed and set_backend_state.
 *
 *      generation is new      Closing, disconnect, Closed
 *      frontend Closed        (we Closed)     features, a new offer, InitWait; `native`: stay Closed, acknowledge
 *      frontend Connected     (we InitWait)   with our offer: read its keys once, connect, Connected, acknowledge
 *                                             with another one: its keys are stale, it will start over by itself
 *      frontend Closing       (we InitWait)   Closing, Closed
 *      frontend anything else (we Connected)  Closing, disconnect, Closed
 *      renewed                Closing, disconnect, Closed, and from there as ever
 *      a bad key or a fault   Closing, Closed, `error` tells why; that generation is not tried again
 *
 *  The factors are sampled with their generation at each step and offered once, with InitWait. The frontend's state is
 *  only what the guest says: no order of its states is relied on. */
import { XENBUS, type XenbusState } from '../abi/xenbus.js';
import { sampleFactors, type Factors } from '@grantline/base';
import { parseNumber, type XenstoreOp } from '../hypervisor/xenstore-client.js';
import { NotNow } from '../hypervisor/hypervisor-port.js';
import { OFFER, OFFER_ACK, VifEnd, makeOffer, messageOf, type VifEndOptions } from './vif-end.js';

export interface BackendHooks {
  /** Asked before each offer. @returns false to wait for another `look` */
  mayOffer(factors: Factors): Promise<boolean>;
  /** Reads the frontend's keys and takes all that they offer; on failure all is given back.
   *  @throws Error telling which key is bad; NotNow when it is no fault of the frontend's */
  connect(factors: Factors): Promise<void>;
  /** Gives everything back; nothing of the guest is used any more when it resolves. */
  disconnect(): Promise<void>;
}

export interface BackendOptions extends VifEndOptions {
  /** Written with each offer. */
  features: Readonly<Record<string, number>>;
  /** Number of the first offer: higher than any of an earlier driver domain's. */
  firstOffer: number;
  hooks: BackendHooks;
}

export class XenbusBackend extends VifEnd {
  factors: Factors | null = null;
  generation = -1;
  acknowledged = -1;
  /** The vif's directory is gone, and everything of it released. */
  gone = false;
  private readonly o: BackendOptions;
  private offers: number;
  private offer = '';
  private stale = false;

  constructor(options: BackendOptions) {
    super(options, options.back, XENBUS.unknown);
    this.o = options;
    this.offers = options.firstOffer;
  }

  /** What the connection was made of is gone, by no fault of the frontend's: it is made anew. */
  renew(): void {
    this.stale = true;
    void this.look();
  }

  /** The guest died, or the service ends: releases all, and steps no more. */
  async end(): Promise<void> {
    await this.follower.end();
    await this.o.hooks.disconnect();
    this.gone = true;
  }

  protected async step(): Promise<void> {
    try {
      await this.stepWhileThere();
    } catch (err) {
      // Somebody who died in the middle of a step is no failure.
      if ((await this.readBack('generation')) === null) await this.vanish();
      else throw err;
    }
  }

  private async stepWhileThere(): Promise<void> {
    const sample = await sampleFactors((key) => this.readBack(key));
    if (sample === null) return this.vanish();
    if (sample.generation !== this.generation) await this.reconfigure(sample.generation);
    if (this.refused === this.generation) return this.shut();
    if (sample.factors === null) return this.refuse(sample.error);
    if (this.fault !== null) return this.refuse(this.fault);
    this.factors = sample.factors;
    if (this.stale) {
      this.stale = false;
      await this.shut();
    }
    const frontend = await this.frontendState();
    if (this.state === XENBUS.connected && frontend === XENBUS.connected) return;
    if (this.state === XENBUS.initWait && frontend !== XENBUS.closing) {
      if (frontend === XENBUS.connected && (await this.answers())) await this.connect(sample.factors);
      return;
    }
    await this.shut();
    await this.begin(sample.factors);
  }

  /** Closed: offers what the generation wants, as soon as the frontend holds nothing any more. */
  private async begin(factors: Factors): Promise<void> {
    if (!(await this.o.hooks.mayOffer(factors))) return;
    const frontend = await this.frontendState();
    if (frontend !== XENBUS.closed && frontend !== XENBUS.initialising) return;
    if (factors.path !== 'native') await this.makeOffer();
    else if (this.acknowledged !== this.generation) await this.acknowledge(XENBUS.closed);
  }

  /** A new generation: whatever there is of the old one goes. */
  private async reconfigure(generation: number): Promise<void> {
    await this.shut();
    await this.forgetError();
    this.fault = null;
    this.generation = generation;
  }

  private async makeOffer(): Promise<void> {
    const offer = makeOffer(this.generation, this.offers++);
    const keys = { ...this.o.features, [OFFER]: offer, state: XENBUS.initWait };
    await this.store.transaction(Object.entries(keys).map(([key, value]) => this.put(key, value)));
    this.offer = offer;
    this.state = XENBUS.initWait;
  }

  private async connect(factors: Factors): Promise<void> {
    const { hooks } = this.o;
    try {
      await hooks.connect(factors);
      await this.acknowledge(XENBUS.connected);
    } catch (err) {
      await hooks.disconnect();
      if (err instanceof NotNow) {
        await this.tell(err.message);
        await this.shut();
        throw err;
      }
      if (await this.isStillOffered()) return this.refuse(messageOf(err));
      // The keys were taken back, or a new generation came, while they were used: that is nobody's fault.
      await this.shut();
      void this.look();
    }
  }

  /** @returns true when the frontend's keys answer our offer */
  private async answers(): Promise<boolean> {
    return (await this.store.read(`${this.o.front}/${OFFER_ACK}`)) === this.offer;
  }

  /** @returns true when the offer and its answer are what they were */
  private async isStillOffered(): Promise<boolean> {
    return (
      (await this.readBack('generation')) === String(this.generation) &&
      (await this.answers()) &&
      (await this.frontendState()) === XENBUS.connected
    );
  }

  private async acknowledge(state: XenbusState): Promise<void> {
    const ops: XenstoreOp[] = [this.put('generation-ack', this.generation), this.put('state', state)];
    if (this.error !== null) ops.push({ op: 'rm', path: this.key('error') });
    await this.store.transaction(ops);
    this.error = null;
    this.acknowledged = this.generation;
    this.state = state;
  }

  /** This generation is not served any more. */
  private async refuse(reason: string): Promise<void> {
    this.refused = this.generation;
    this.fault = null;
    this.o.log.warn({ reason }, 'vif disabled');
    await this.tell(reason);
    await this.shut();
  }

  /** Closing, disconnect, Closed. */
  private async shut(): Promise<void> {
    if (this.state === XENBUS.closed) return;
    if (this.state !== XENBUS.unknown) await this.become(XENBUS.closing);
    await this.o.hooks.disconnect();
    await this.become(XENBUS.closed);
  }

  /** The toolstack took the directory away. */
  private async vanish(): Promise<void> {
    await this.o.hooks.disconnect();
    this.gone = true;
  }

  private async frontendState(): Promise<number> {
    return parseNumber(await this.store.read(`${this.o.front}/state`)) ?? XENBUS.unknown;
  }
}
