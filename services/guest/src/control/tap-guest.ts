/** A guest whose stack is a kernel's: the device, and what stands between it and the vif. docs/tap.md */
import { NETWORK_PREFIX, UsageError } from '@grantline/base';
import { TAP_COUNTERS } from '@grantline/observe';
import {
  type CounterFile,
  type AddressSpace,
  type Doorbell,
  type WakeSource,
  type TapDevice,
  openTapOr,
  type Logs,
  type Laps,
} from '@grantline/machine';
import type { HypervisorClient, Part, ServiceEnv } from '@grantline/service';
import { XenstoreClient } from '@grantline/xen';
import { tapIsGone, tapSource } from '@grantline/measure';
import { TapSink, TapSource } from '../data/tap.js';
import { readOwnAddress } from './front-vif.js';

/** Makes the device that the environment asks for, with the vif's addresses: frames with any other would count as spoofed.
 *  @throws UsageError for what the user can put right */
export async function openGuestTap(env: ServiceEnv, client: HypervisorClient): Promise<TapDevice | null> {
  if (env.tap === null) return null;
  const { mac, ip } = await readOwnAddress(new XenstoreClient(client), client.domid);
  return openTapOr(
    { ...env.tap, mac, ip: { address: ip, prefix: NETWORK_PREFIX }, offload: env.tapOffload },
    ({ what, todo }) => new UsageError(`${what}: ${todo}`),
  );
}

export interface TapGuestHost {
  space: AddressSpace;
  counters: CounterFile;
  /** Labels of the vif. */
  labels: { vif: string };
  meter: Pick<Laps, 'lap'>;
  doorbell: Doorbell;
  loop: { schedule(poller: TapSource): void };
  log: Logs<'error'>;
}

export class TapGuest {
  readonly sink: TapSink;
  readonly source: TapSource;
  private readonly tap: TapDevice;
  private readonly wake: WakeSource;

  constructor(host: TapGuestHost, tap: TapDevice) {
    const { space, meter, doorbell, loop } = host;
    this.tap = tap;
    const counters = host.counters.block(TAP_COUNTERS, { device: host.labels.vif });
    this.sink = new TapSink(space, tap, counters);
    this.wake = tapSource(tap, () => loop.schedule(this.source), host.log);
    doorbell.source = this.wake;
    this.source = new TapSource({ space, tap, counters, meter, source: this.wake });
  }

  /** It, as a part of the service: not ready when there is no kernel any more. */
  get part(): Part {
    const { source, tap, wake } = this;
    return {
      poller: source,
      ready: () => wake.stands || tapIsGone(tap.name),
      dump: { tap: () => ({ device: tap.name, vnet: tap.vnet }) },
    };
  }
}
