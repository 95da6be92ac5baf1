/** A guest whose stack is a kernel's: the device, and what stands between it and the vif. docs/tap.md */
import { NETWORK_PREFIX } from '@grantline/shared/config/network.js';
import { TAP_COUNTERS } from '@grantline/shared/counters/names.js';
import type { CounterFile } from '@grantline/shared/counters/file.js';
import type { HypervisorClient } from '@grantline/shared/hypervisor/client.js';
import { XenstoreClient } from '@grantline/shared/hypervisor/xenstore.js';
import type { AddressSpace } from '@grantline/shared/mem/address-space.js';
import type { Doorbell, WakeSource } from '@grantline/shared/mem/doorbell.js';
import type { TapDevice } from '@grantline/shared/mem/tun.js';
import { type ServiceEnv } from '@grantline/shared/service/env.js';
import { UsageError } from '@grantline/shared/service/usage-error.js';
import { openTapOr } from '@grantline/shared/tap/refusal.js';
import { tapIsGone, tapSource } from '@grantline/shared/tap/source.js';
import { TapSink } from '../data/tap-sink.js';
import { TapSource } from '../data/tap-source.js';
import { readOwnAddress } from './own-address.js';

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
  meter: { lap(component: number): void };
  doorbell: Doorbell;
  loop: { add(poller: TapSource): void; schedule(poller: TapSource): void };
  log: { error(what: object, text: string): void };
}

export class TapGuest {
  readonly sink: TapSink;
  readonly source: TapSource;
  private readonly tap: TapDevice;
  private readonly wake: WakeSource;

  constructor(host: TapGuestHost, tap: TapDevice) {
    const { space, meter, doorbell, loop } = host;
    this.tap = tap;
    const counters = host.counters.block('tap', { device: host.labels.vif }, TAP_COUNTERS);
    this.sink = new TapSink(space, tap, counters);
    this.wake = tapSource(tap, () => loop.schedule(this.source), host.log);
    doorbell.source = this.wake;
    this.source = new TapSource({ space, tap, counters, meter, source: this.wake });
    loop.add(this.source);
  }

  /** Why there is no kernel any more; null: there is. */
  lost(): string | null {
    return this.wake.stands ? null : tapIsGone(this.tap.name);
  }

  describe(): Record<string, unknown> {
    return { device: this.tap.name, vnet: this.tap.vnet };
  }
}
