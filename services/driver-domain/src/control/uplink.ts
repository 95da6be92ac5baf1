/** The transmit queue of the uplink: what leaves the bridge by the NIC's port, from all vifs that have no queue of their own.
 *  It outlives the NIC: while there is none its port is a link without carrier, and the next NIC gets a queue anew. */
import type { CounterBlock } from '@grantline/machine';
import { TxPort } from '../data/tx/tx-port.js';
import { Healer, type HealerOptions } from './healer.js';
import type { QueueHost } from './host.js';
import { makeTxNicQueue } from './nic-queue.js';
import { UndoStack } from '@grantline/base';

export class Uplink {
  /** What vifs send through, the same for as long as the service lives. */
  readonly port: TxPort;
  /** The NIC has the queue. */
  attached = false;
  private readonly host: QueueHost;
  private readonly healer: Healer;
  private readonly undo = new UndoStack();
  private readonly waiting: (() => void)[] = [];
  private turn: Promise<void> = Promise.resolve();
  private ended = false;

  /** @param counters of the driver: notifications of the NIC
   *  @param healing time, for tests */
  constructor(host: QueueHost, counters: CounterBlock, healing: Partial<HealerOptions> = {}) {
    this.host = host;
    this.port = new TxPort(host.loop, host.meter, counters);
    this.port.onBroken = (reason) => this.broken(reason);
    const renew = (): void => this.renew();
    this.healer = new Healer({ name: 'uplink', renew, counters, log: host.log, ...healing });
  }

  /** Attaches the queue; a NIC that is not there yet is waited for. */
  begin(): Promise<void> {
    this.host.loop.add(this.port);
    return this.inTurn(() => this.attach());
  }

  /** The NIC is gone, and the queue with it. Packets that it had are lost, and answered; the next NIC is waited for. */
  nicGone(): void {
    this.attached = false;
    this.healer.forget();
    this.port.down();
    this.renew();
  }

  /** Called about once a second. */
  tick(nowNs: number): void {
    this.port.look(nowNs);
  }

  /** Resolves when the NIC has the queue, or the service ends. */
  async ready(): Promise<TxPort> {
    if (!this.attached && !this.ended) await new Promise<void>((go) => this.waiting.push(go));
    return this.port;
  }

  /** The service ends: no NIC is waited for any more, and a vif that waits for the queue goes on without. */
  giveUp(): void {
    this.ended = true;
    this.healer.forget();
    this.letGo();
  }

  /** The service ends: the queue is given back. */
  async end(): Promise<void> {
    this.giveUp();
    await this.turn;
    await this.release();
    this.host.loop.remove(this.port);
  }

  describe(): Record<string, unknown> {
    return { attached: this.attached, ...this.port.describe() };
  }

  private async attach(): Promise<void> {
    const { host, undo, port } = this;
    if (this.ended) return;
    const q = await makeTxNicQueue(host, undo, host.domid, () => this.ended);
    q.nic.onEvent(() => host.loop.schedule(port));
    q.nic.onUnbound(() => this.broken('the NIC closed its port'));
    port.connect(q.queue, q.nic);
    this.attached = true;
    this.letGo();
  }

  private async release(): Promise<void> {
    this.attached = false;
    const { host, undo, port } = this;
    const failures = await undo.run();
    // Detached: the NIC reads nothing any more.
    port.down();
    for (const err of failures) host.log.warn({ err }, 'a step of giving back the uplink failed');
  }

  /** The queue is off the NIC before another is attached: until then packets wait, and nothing of them is answered. */
  private renew(): void {
    void this.inTurn(async () => {
      await this.release();
      await this.attach();
    });
  }

  private broken(reason: string): void {
    if (!this.attached || this.ended) return;
    this.attached = false;
    this.healer.broken(reason);
  }

  private letGo(): void {
    for (const go of this.waiting.splice(0)) go();
  }

  private inTurn(step: () => Promise<void>): Promise<void> {
    this.turn = this.turn.then(step).catch((err: unknown) => {
      if (!this.ended) this.host.log.warn({ err }, 'the uplink has no transmit queue');
    });
    return this.turn;
  }
}
