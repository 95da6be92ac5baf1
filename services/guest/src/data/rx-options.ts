/** What netfront's receive side of a queue is made with. */
import type { CounterBlock, Mem, Laps, Notify } from '@grantline/machine';
import type { FrontRing } from '@grantline/xen';
import type { RxBuffers } from './rx-buffers.js';
import type { RxComponents, RxSink } from './rx-sink.js';

export interface NetfrontRxOptions {
  mem: Mem;
  ring: FrontRing;
  buffers: RxBuffers;
  sink: RxSink;
  laps: Laps;
  components: RxComponents;
  counters: CounterBlock;
  peer: Notify;
  /** True: each response ends its grant, each request gets a fresh one. False: grants stand as long as the buffers. */
  perFrameGrants: boolean;
  /** True: refill once a quarter of the buffers is missing. False: after each batch. */
  batching: boolean;
  /** Netback was told that packets which were not cut into frames are taken (feature-gso-tcpv4). */
  gso: boolean;
  /** Called once, from inside poll, when netback did something impossible. */
  onFault: (reason: string) => void;
}
