/** A TAP device as what ends a sleep: the kernel has packets. The device may be removed under its descriptor, with its namespace or
 *  by hand: then that is said once, nothing waits for it any more, and the service is not ready. */
import { WakeSource, type TapDevice, type Logs } from '@grantline/machine';

export const tapIsGone = (name: string): string => `the TAP device ${name} is gone`;

export function tapSource(tap: TapDevice, onReadable: () => void, log: Logs<'error'>): WakeSource {
  return new WakeSource(tap.fd, onReadable, () => {
    log.error(
      { device: tap.name },
      `${tapIsGone(tap.name)}: somebody removed it, or its namespace; start the testbed again`,
    );
  });
}
