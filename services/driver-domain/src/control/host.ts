/** What the control side needs of the service that it runs in, as narrow as can be: tests put their own behind it. */
import type { DomId, Port } from '@grantline/shared/abi/page.js';
import type { FrameTap } from '@grantline/shared/capture/tap.js';
import type { CounterBlock } from '@grantline/shared/counters/block.js';
import type { CounterFile } from '@grantline/shared/counters/file.js';
import type { EventChannel } from '@grantline/shared/evtchn/event-channel.js';
import type { GrantWindow } from '@grantline/shared/grant/window.js';
import type { HypervisorClient } from '@grantline/shared/hypervisor/client.js';
import type { XenstoreClient } from '@grantline/shared/hypervisor/xenstore.js';
import type { Poller } from '@grantline/shared/loop/data-loop.js';
import type { Mem } from '@grantline/shared/mem/address-space.js';
import type { Bridge } from '../data/bridge.js';
import type { Buffers } from '../data/buffers.js';
import type { Laps } from '../data/ports.js';
import type { TxLocal } from '../data/tx-local.js';
import type { TxPort } from '../data/tx-port.js';
import type { Pages } from './pages.js';

export type Channel = Pick<EventChannel, 'port' | 'notify' | 'onEvent' | 'onUnbound' | 'close'>;

export interface Host {
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
  /** Transmit queue of the uplink, and packets between vifs. */
  readonly uplink: { ready(): Promise<TxPort> };
  readonly local: TxLocal;
  /** Posts buffers that came back to the default queue. */
  readonly refill: () => void;
  /** Where the frames of a vif can be captured; not given: nowhere. */
  readonly tapOf?: (guest: DomId) => FrameTap;
  readonly log: Record<'info' | 'warn' | 'error', (what: object, text: string) => void>;
}

/** Waits a moment without blocking the loop, milliseconds. */
export const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
