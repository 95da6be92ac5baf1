/** What the application of `native` sends through: a NIC transmit queue of the driver domain's own, with buffers that are in
 *  the DMA table for as long as it lives; and what a run has it send (prepareNativeSend). */
import { parseDomId, UndoStack } from '@grantline/base';
import { frontendPath, type XenstoreClient } from '@grantline/xen';
import type { SendControl } from '@grantline/service';
import { flowsOfSender, parseSend, sendRun, NicSender, SEND_PAGES, SendBuffers } from '@grantline/measure';
import type { CounterBlock } from '@grantline/machine';
import type { QueueHost } from './host.js';
import { dmaMap, dmaUnmap } from './pages.js';
import { makeTxNicQueue } from './nic-queue.js';

export class NativeSender {
  /** Its queue gave up: it sends nothing until it is started again. */
  onBroken: (reason: string) => void = () => {};
  private readonly host: QueueHost;
  private readonly control: SendControl;
  private readonly counters: CounterBlock;
  private readonly undo = new UndoStack();
  private running = false;
  private ended = false;

  /** @param counters named as NETFRONT_TX_COUNTERS */
  constructor(host: QueueHost, control: SendControl, counters: CounterBlock) {
    this.host = host;
    this.control = control;
    this.counters = counters;
  }

  /** Takes buffers and a queue; the application may send from now on. A NIC that is not there is waited for.
   *  @throws Error when the service ends meanwhile */
  async start(tso: boolean): Promise<void> {
    const { host, control, undo } = this;
    const { pages, client, mem, loop } = host;
    const first = pages.alloc(SEND_PAGES);
    const dpn = await dmaMap(client, first, SEND_PAGES, 0);
    undo.push(async () => {
      await dmaUnmap(client, dpn);
      pages.release(first, SEND_PAGES);
    });
    const q = await makeTxNicQueue(host, undo, host.domid, () => this.ended);
    const at = Int32Array.from({ length: SEND_PAGES }, (_, i) => pages.offset(first + i));
    const sender = new NicSender({
      mem,
      queue: q.queue,
      buffers: new SendBuffers(at, true),
      dpn: Int32Array.from(dpn),
      nic: q.nic,
      counters: this.counters,
      onFault: this.onBroken,
    });
    q.nic.onEvent(() => loop.schedule(control));
    q.nic.onUnbound(() => {
      if (this.running) this.onBroken('the NIC closed its port');
    });
    control.attach(sender, tso);
    this.running = true;
    undo.push(() => control.attach(null, false));
  }

  /** The service ends: a start that still waits for the NIC gives up. */
  giveUp(): void {
    this.ended = true;
  }

  /** Gives everything back. */
  async stop(): Promise<void> {
    this.running = false;
    for (const err of await this.undo.run()) this.host.log.warn({ err }, 'a step of stopping native send failed');
  }
}

/** Prepares what a run has the applications of all guests send, in `native` from the driver domain in their place.
 *  @param text of /tool/run. @throws RangeError when frames of that kind cannot be made */
export async function prepareNativeSend(
  xenstore: Pick<XenstoreClient, 'read'>,
  control: Pick<SendControl, 'prepare'>,
  text: string,
): Promise<void> {
  const part = parseSend(text);
  if (part === null) return;
  const { guests } = JSON.parse(text) as { guests: number[] };
  const flows = await Promise.all(
    guests.map(async (guest, nth) => {
      const front = frontendPath(parseDomId(guest), 0);
      const own = { mac: (await xenstore.read(`${front}/mac`)) ?? '', ip: (await xenstore.read(`${front}/ip`)) ?? '' };
      return flowsOfSender(part, nth, own);
    }),
  );
  control.prepare(sendRun(part, flows.flat()));
}
