/** What the control side needs of the service that it runs in, as narrow as can be: tests put their own behind it. */
import type { DomId, Port } from '@grantline/base';
import type { FrameProbe } from '@grantline/observe';
import type { CounterBlock, CounterFile, Poller, Mem, Logs, Laps } from '@grantline/machine';
import type { EventChannel, XenstoreClient } from '@grantline/xen';
import type { GrantWindow } from './window.js';
import type { HypervisorClient } from '@grantline/service';
import type { Bridge } from '../data/bridge/bridge.js';
import type { Buffers } from '../data/bridge/buffers.js';
import type { TxLocal } from '../data/tx/local-switch.js';
import type { TxPort } from '../data/tx/tx-port.js';
import type { Pages } from './pages.js';

export type Channel = Pick<EventChannel, 'port' | 'notify' | 'onEvent' | 'onUnbound' | 'close'>;

/** What NIC queues need, those of the driver domain itself included. */
export interface QueueHost {
  readonly domid: DomId;
  readonly mem: Mem;
  readonly pages: Pages;
  readonly client: Pick<HypervisorClient, 'request' | 'hypercall' | 'closed'>;
  readonly xenstore: Pick<XenstoreClient, 'read' | 'write' | 'directory' | 'transaction' | 'watch'>;
  readonly channels: {
    allocUnbound(remote: DomId): Promise<Channel>;
    bindInterdomain(remote: DomId, port: Port): Promise<Channel>;
  };
  readonly window: Pick<GrantWindow, 'take' | 'mapAt' | 'unmap' | 'mapGrant' | 'unmapGrant' | 'forget' | 'free'>;
  readonly loop: {
    add(poller: Poller, onFault?: (err: unknown) => void): void;
    remove(poller: Poller): void;
    schedule(poller: Poller): void;
  };
  readonly meter: Laps;
  readonly counters: Pick<CounterFile, 'block'>;
  /** Counters of the NIC driver, shared by the bridge's and native's. */
  readonly driver: CounterBlock;
  readonly buffers: Buffers;
  readonly bridge: Bridge;
  /** Packets between vifs. */
  readonly local: TxLocal;
  /** Where the frames of a vif can be captured; not given: nowhere. */
  readonly probeOf?: (guest: DomId) => FrameProbe;
  readonly log: Logs;
}

/** What vifs need beside. */
export interface Host extends QueueHost {
  /** Transmit queue of the uplink. */
  readonly uplink: { ready(): Promise<TxPort> };
  /** Posts buffers that came back to the default queue. */
  readonly refill: () => void;
}

/** Waits a moment without blocking the loop, milliseconds. */
export const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
