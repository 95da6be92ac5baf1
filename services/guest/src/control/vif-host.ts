/** What a vif needs of the service that it runs in, as narrow as can be: tests put their own behind it.
 *  One of its parts is put together here: the senders of a guest, which a vif sees as one (txUsers). */
import type { RxSink, TxDevice } from '@grantline/measure';
import type { DomId } from '@grantline/base';
import type { RxProbe, FrameProbe } from '@grantline/observe';
import type { CounterBlock, Poller, Mem, Logs, Laps } from '@grantline/machine';
import type { EventChannel, GrantTable, XenstoreClient } from '@grantline/xen';
import type { HypervisorClient } from '@grantline/service';
import type { PagePool } from '../data/page-pool.js';
import type { After } from '../data/pool-client.js';

export type Channel = Pick<EventChannel, 'port' | 'notify' | 'onEvent' | 'close'>;

export interface VifHost {
  readonly domid: DomId;
  readonly mem: Mem;
  readonly pages: PagePool;
  readonly grants: GrantTable;
  readonly client: Pick<HypervisorClient, 'request' | 'hypercall'>;
  readonly xenstore: Pick<XenstoreClient, 'read' | 'write' | 'directory' | 'transaction' | 'watch'>;
  readonly channels: { allocUnbound(remote: DomId): Promise<Channel> };
  readonly loop: {
    add(poller: Poller, onFault?: (err: unknown) => void): void;
    remove(poller: Poller): void;
    schedule(poller: Poller): void;
  };
  readonly laps: Laps;
  readonly after: After;
  /** Counters of netfront, and of the NIC driver of `direct`. */
  readonly netfront: CounterBlock;
  readonly driver: CounterBlock;
  /** Of the transmit side, netfront's or that of an own NIC queue. */
  readonly netfrontTx: CounterBlock;
  /** The sending application: a poller on the loop, inert without a device. */
  readonly sender: Poller & { attach(device: TxDevice | null, tso: boolean): void };
  /** Where frames can be captured; not given: nowhere. */
  readonly probes?: { readonly rx: RxProbe; readonly tx: FrameProbe };
  readonly log: Logs;
  /** The stack that queues feed, set as the vif's factors want it. */
  sink(lro: boolean): RxSink;
}

interface User {
  scheduled: boolean;
  attach(device: TxDevice | null, tso: boolean): void;
}

/** Who sends through the vif: the measuring application and the TCP/IP stack. Seen from the vif they are one: both are given
 *  the device, and both are put to work when there is room again.
 *  The users are on the loop's list themselves. */
export function txUsers(...users: User[]): VifHost['sender'] {
  return {
    get scheduled() {
      return users.some((u) => u.scheduled);
    },
    set scheduled(on: boolean) {
      if (on) for (const u of users) u.scheduled = true;
    },
    attach(device, tso) {
      for (const u of users) u.attach(device, tso);
    },
    poll: () => 0,
    arm: () => false,
  };
}
