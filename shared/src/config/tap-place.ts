/** A TAP device as the user names it: without the C library, for whoever only reads settings. */

/** NAME[,NETNS]: a device, and the named network namespace that it is to be in. */
export interface TapPlace {
  name: string;
  netns: string | null;
}

/** @returns null when it is no such text */
export function parseTapPlace(text: string): TapPlace | null {
  const [name = '', netns, ...rest] = text.split(',');
  if (!isTapName(name) || rest.length > 0) return null;
  // A name under /run/netns: no path, and nothing that leads out of it.
  if (netns !== undefined && !/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}$/.test(netns)) return null;
  return { name, netns: netns ?? null };
}

export const TAP_PLACE_FORM = 'NAME or NAME,NETNS: a device name of at most 15 letters, digits, "_", "." or "-"';

/** The kernel's rule (dev_valid_name), and nothing that a shell or an interface pattern (%d) would take for more. */
export const isTapName = (name: string): boolean =>
  /^[A-Za-z0-9_.-]{1,15}$/.test(name) && name !== '.' && name !== '..';
