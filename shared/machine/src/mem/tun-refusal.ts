/** Why a TAP device cannot be had, and what the user can do about it. */
import { TAP_PLACE_FORM, type TapPlace } from '@grantline/base';
import { TapError, openTap, type TapDevice, type TapOptions } from './tun.js';

/** What is wrong and what to do about it, without a colon in either. */
export interface TapRefusal {
  what: string;
  todo: string;
}

/** @returns null: not the user's to mend */
export function tapRefusal(error: unknown, place: TapPlace): TapRefusal | null {
  if (!(error instanceof TapError)) return null;
  const todo: Record<TapError['reason'], string> = {
    'no-tun': 'load the module with modprobe tun, or give the container the device with --device /dev/net/tun',
    'no-right': 'run as root, or with CAP_NET_ADMIN and the right to open /dev/net/tun',
    'no-netns': /^\/|^pid:/.test(place.netns ?? '')
      ? 'give a namespace by its name, its path (/proc/PID/ns/net) or as pid:N, or leave it away'
      : `make it with ip netns add ${place.netns ?? 'NAME'}, or leave it away`,
    taken: 'choose another name, or end whoever has it',
    'bad-name': `give ${TAP_PLACE_FORM.replace(':', ',')}`,
    other: 'see whether ip tuntap add works for that name',
  };
  return { what: error.message, todo: todo[error.reason] };
}

/** Tries whether a device can be made, and leaves nothing. @returns what is in the way, or null */
export function tryTap(place: TapPlace): TapRefusal | null {
  try {
    openTap({ ...place, mac: null, ip: null, offload: true }).close();
    return null;
  } catch (error) {
    const refusal = tapRefusal(error, place);
    if (refusal === null) throw error;
    return refusal;
  }
}

/** @throws what `fail` makes of a refusal, for what the user can mend */
export function openTapOr(options: TapOptions, fail: (refusal: TapRefusal) => Error): TapDevice {
  try {
    return openTap(options);
  } catch (error) {
    const refusal = tapRefusal(error, options);
    throw refusal === null ? error : fail(refusal);
  }
}
