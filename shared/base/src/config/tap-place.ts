/** A TAP device as the user names it: without the C library, for programs that only read settings. */

/** NAME[,NETNS]: a device, and the network namespace that it is to be in. */
export interface TapPlace {
  name: string;
  /** Name under /run/netns, absolute path, or pid:N; null: our own. */
  netns: string | null;
}

const NAME = '[A-Za-z0-9_.-]{1,15}';
/** A name leads nowhere else. A path is one without comma, quote or control character, so that it can be passed on and printed. */
const NETNS = "(?:[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}|/[^,'\\x00-\\x1f\\x7f]{1,250}|pid:[1-9][0-9]{0,9})";
/** The whole text as a regular expression, for settings. */
export const TAP_PLACE_PATTERN = `${NAME}(?:,${NETNS})?`;
const PLACE = new RegExp(`^(${NAME})(?:,(${NETNS}))?$`);

/** @returns null when it is no such text */
export function parseTapPlace(text: string): TapPlace | null {
  const [, name = '', netns] = PLACE.exec(text) ?? [];
  return isTapName(name) ? { name, netns: netns ?? null } : null;
}

export const TAP_PLACE_FORM =
  'NAME or NAME,NETNS: a device name of at most 15 letters, digits, "_", "." or "-", and a namespace by its name, its path or as pid:N';

/** Where `ip netns add` keeps the names of namespaces. */
export const NETNS_DIR = '/run/netns';

/** The file that stands for a namespace. @param netns of a TapPlace */
export function netnsPath(netns: string | null): string {
  if (netns === null) return '/proc/self/ns/net';
  if (netns.startsWith('/')) return netns;
  return netns.startsWith('pid:') ? `/proc/${netns.slice(4)}/ns/net` : `${NETNS_DIR}/${netns}`;
}

/** The kernel's rule (dev_valid_name), and nothing that a shell or an interface pattern (%d) would take for more. */
export const isTapName = (name: string): boolean =>
  /^[A-Za-z0-9_.-]{1,15}$/.test(name) && name !== '.' && name !== '..';
