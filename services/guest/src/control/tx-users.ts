/** Who sends through the vif: the measuring application and the TCP/IP stack. Seen from the vif they are one: both are given
 *  the device, and both are put to work when there is room again. */
import type { TxDevice } from '@grantline/measure';
import type { VifHost } from './vif-host.js';

interface User {
  scheduled: boolean;
  attach(device: TxDevice | null, tso: boolean): void;
}

/** The users are on the loop's list themselves. */
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
