/** Values of options as an operator writes them: the rate of a vif, a TAP device, faults of the cable. Pure. */

// How much a vif may send. Sources: Xen, docs/man/xl-network-configuration (`rate=<RATE>/s[@<INTERVAL>]`, 50 ms when none is
// given), libxlu_vif.c; xenstore node `rate`, "bytes,usec".

/** Units to bytes. As in xl, b is a bit and B a byte; K, M, G are powers of ten. */
const BYTES: Readonly<Record<string, number>> = {
  ...{ b: 1 / 8, Kb: 1e3 / 8, Mb: 1e6 / 8, Gb: 1e9 / 8 },
  ...{ B: 1, KB: 1e3, MB: 1e6, GB: 1e9 },
};
const USEC: Readonly<Record<string, number>> = { us: 1, ms: 1e3, s: 1e6 };
/** Both numbers of the node have at most ten digits. */
const MOST = 2 ** 32 - 1;

/** @param text as "100Mb/s" or "1GB/s@20ms"
 *  @returns the node's value @throws Error with a line for the operator */
export function parseRate(text: string): string {
  const m = /^(\d{1,9})(b|Kb|Mb|Gb|B|KB|MB|GB)\/s(?:@(\d{1,9})(us|ms|s))?$/.exec(text);
  if (m === null) throw new Error(`rate "${text.slice(0, 40)}" is not like 100Mb/s or 1GB/s@20ms`);
  const usec = m[3] === undefined ? 50_000 : Number(m[3]) * USEC[m[4]];
  const bytes = Math.floor((Number(m[1]) * BYTES[m[2]] * usec) / 1e6);
  if (usec < 1 || usec > MOST) throw new Error(`rate "${text}": an interval is 1us to 4294s`);
  if (bytes < 1 || bytes > MOST)
    throw new Error(`rate "${text}" is ${bytes} bytes in each interval: 1 to ${MOST} can be had`);
  return `${bytes},${usec}`;
}

/** NAME[,NETNS]: a TAP device, and the network namespace that it is to be in. */
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
const NETNS_DIR = '/run/netns';

/** The file that stands for a namespace. @param netns of a TapPlace */
export function netnsPath(netns: string | null): string {
  if (netns === null) return '/proc/self/ns/net';
  if (netns.startsWith('/')) return netns;
  return netns.startsWith('pid:') ? `/proc/${netns.slice(4)}/ns/net` : `${NETNS_DIR}/${netns}`;
}

/** The kernel's rule (dev_valid_name), and nothing that a shell or an interface pattern (%d) would take for more. */
export const isTapName = (name: string): boolean =>
  /^[A-Za-z0-9_.-]{1,15}$/.test(name) && name !== '.' && name !== '..';

/** What an injector of faults is to do: probabilities, of which at most one comes true for a frame, and a seed. */
export interface FaultSettings {
  seed: number;
  /** Of each frame, 0 to 1; together at most 1. */
  loss: number;
  duplicate: number;
  /** One bit, behind the Ethernet header: without an FCS nobody could tell it in there. */
  corrupt: number;
  /** Comes after the next frame of its flow. */
  reorder: number;
  /** Comes so much later. */
  delay: number;
  delayUs: number;
}

/** Both directions of a cable; null: no faults. */
export interface CableFaults {
  /** To the NIC. */
  in: FaultSettings | null;
  /** From the NIC. */
  out: FaultSettings | null;
}

export const FAULT_KINDS = ['loss', 'duplicate', 'corrupt', 'reorder', 'delay'] as const;
/** Longest delay, microseconds. */
export const MAX_DELAY_US = 1_000_000;

/** @returns what is wrong with the settings, or null */
export function wrongFaults(s: FaultSettings): string | null {
  const bad = FAULT_KINDS.find((kind) => !(s[kind] >= 0 && s[kind] <= 1));
  if (bad !== undefined) return `${bad} must be a probability from 0 to 1`;
  if (FAULT_KINDS.reduce((sum, kind) => sum + s[kind], 0) > 1) return 'the probabilities are more than 1 together';
  if (!Number.isInteger(s.seed) || s.seed < 0 || s.seed > 0xffffffff)
    return 'seed must be a whole number to 4294967295';
  if (!(s.delayUs >= 1 && s.delayUs <= MAX_DELAY_US)) return `delay-us must be 1 to ${MAX_DELAY_US}`;
  return null;
}

const DIRECTIONS = ['in', 'out', 'both'];
const KNOWN = [...FAULT_KINDS, 'delay-us', 'seed', 'direction'].join(', ');

/** "loss=0.01,reorder=0.01,seed=7,direction=in". @throws RangeError that says what is wrong */
export function parseFaults(text: string): CableFaults {
  const s: FaultSettings = { seed: 1, loss: 0, duplicate: 0, corrupt: 0, reorder: 0, delay: 0, delayUs: 1000 };
  let direction = 'both';
  const named = new Set<string>();
  for (const part of text.split(',')) {
    const [, name, value] = /^([^=]*)=?(.*)$/s.exec(part.trim())!;
    if (named.has(name)) throw new RangeError(`${name} is named twice`);
    named.add(name);
    if (name === 'direction') {
      if (!DIRECTIONS.includes(value)) throw new RangeError('direction must be in, out or both');
      direction = value;
      continue;
    }
    const n = /^\d+(\.\d+)?$/.test(value) ? Number(value) : NaN;
    if (name === 'seed') s.seed = n;
    else if (name === 'delay-us') s.delayUs = n;
    else {
      const kind = FAULT_KINDS.find((k) => k === name);
      if (kind === undefined) throw new RangeError(`"${name}" is none of ${KNOWN}`);
      s[kind] = n;
    }
  }
  const wrong = wrongFaults(s);
  if (wrong !== null) throw new RangeError(wrong);
  // The two directions draw apart: the same numbers would lose request and response together.
  const back = { ...s, seed: (s.seed ^ 0x9e3779b9) >>> 0 };
  return { in: direction === 'out' ? null : s, out: direction === 'in' ? null : back };
}
