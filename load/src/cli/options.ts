/** Checks of what the user typed. Each takes the text and gives the value, or throws a UserError that says what is
 *  wrong and what may be written instead. */
import {
  parseRate,
  FACTOR_VALUES,
  changeFactors,
  configurationNamed,
  configurationNames,
  parseFactor,
  type Configuration,
  parseFaults,
  type CableFaults,
  MAX_IN_FLIGHT,
  MAX_GUESTS,
  NAME_FORM,
} from '@grantline/base';
import { ETH_MAX_FRAME, ETH_MIN_FRAME, IMIX_BYTES, LINK_GBPS } from '@grantline/frames';
import { UserError } from '../base/errors.js';
import { decimal, integerIn, numberIn, parseListen } from '../base/option-values.js';
import type { PageChoice } from '../bed/page.js';
import type { Protocol } from '../control/load-api.js';

/** One of several words. @param say all that may be written */
function oneOf<T extends string>(text: string, what: string, words: readonly T[], say: string): T {
  const found = words.find((word) => word === text);
  if (found === undefined) throw new UserError(`unknown ${what} "${text}"`, `give ${say}`);
  return found;
}

export const parseGuests = (text: string): number => integerIn(text, 'the number of guests', 1, MAX_GUESTS);
/** --nested: guest1,guest2 or all. @returns domids; null: all */
export function parseNested(text: string, guests: number): number[] | null {
  if (text === 'all') return null;
  return text.split(',').map((part) => {
    const [, number] = /^guest(\d{1,2})$/.exec(part.trim()) ?? [];
    const guest = Number(number);
    if (!(guest >= 1 && guest <= guests))
      throw new UserError(`--nested ${part}: there is no such guest`, 'give guest1,guest2 or all');
    return guest;
  });
}
export const parseFlows = (text: string): number => integerIn(text, 'the number of flows', 1, 1024);
export const parseLoops = (text: string): number => integerIn(text, 'loops', 1, 1_000_000);
export const parseConnections = (text: string): number => integerIn(text, 'the number of connections', 1, 1000);
export const parseSeed = (text: string): number => integerIn(text, 'the seed', 1, 0xffffffff);

/** Seconds of load before measuring starts; 0 is allowed. */
export const parseWarmup = (text: string): number => numberIn(text, 'warm-up', 0, 3600, 'seconds');

/** --rate: requests per second, several separated by commas. */
export const parseRates = (text: string): number[] =>
  text.split(',').map((part) => numberIn(part.trim(), 'rate', 1, 1_000_000, 'requests per second'));

/** Frame bytes with the Ethernet header, without FCS. @returns the sizes to send: one, or the IMIX set */
export function parseFrame(text: string): number[] {
  if (text === 'imix') return [...IMIX_BYTES];
  const n = decimal(text);
  if (!Number.isInteger(n) || n < ETH_MIN_FRAME || n > ETH_MAX_FRAME) {
    throw new UserError(
      `frame size "${text}" is out of range`,
      `give ${ETH_MIN_FRAME} to ${ETH_MAX_FRAME} bytes (Ethernet header included, FCS not), or imix`,
    );
  }
  return [n];
}

/** @returns link speed in Gb/s; null when unlimited */
export function parseLink(text: string): number | null {
  if (text === 'max') return null;
  const n = LINK_GBPS.find((g) => String(g) === text);
  if (n === undefined)
    throw new UserError(`link speed "${text}" is not one that there is`, `give ${LINK_GBPS.join(', ')} (Gb/s) or max`);
  return n;
}

/** Which ladders to run. */
export const parseDirection = (text: string): ('rx' | 'tx')[] =>
  text === 'both'
    ? ['rx', 'tx']
    : [oneOf(text, 'direction', ['rx', 'tx'], 'rx (to the guests), tx (from the guests) or both')];

/** What frames are measured. */
export const parseWorkload = (text: string): 'load' | 'guest-to-guest' | 'rr' | 'tcp' =>
  oneOf(text, 'workload', ['load', 'guest-to-guest', 'rr', 'tcp'], 'load, guest-to-guest, rr or tcp');

export const parseProtocol = (text: string): Protocol =>
  oneOf(text, 'protocol', ['auto', 'tcp', 'udp'], 'auto, tcp or udp');

/** --inflight 1,32: how many requests are out at once, a series of runs for each. */
export function parseInFlight(text: string): number[] {
  const list = text.split(',').map((n) => integerIn(n.trim(), 'requests in flight', 1, MAX_IN_FLIGHT));
  if (new Set(list).size < list.length) throw new UserError(`--inflight "${text}" names one twice`, 'name each once');
  return list;
}

/** --beside: whether requests have the path for themselves. */
export const parseBeside = (text: string): ('idle' | 'bulk')[] =>
  text === 'both'
    ? ['idle', 'bulk']
    : [oneOf(text, 'company', ['idle', 'bulk'], 'idle (nothing else), bulk (generated frames) or both')];

/** --rate of requests: per second, or null for the closed loop. */
export function parseRequestRate(text: string | undefined): number | null {
  return text === undefined ? null : integerIn(text, 'the rate of requests', 1, 1_000_000);
}

/** --faults loss=0.01,seed=7. @returns null when not given */
export function parseFaultsOption(text: string | undefined): CableFaults | null {
  if (text === undefined) return null;
  try {
    return parseFaults(text);
  } catch (error) {
    throw new UserError(`--faults "${text}": ${(error as Error).message}`, 'write for example loss=0.01,seed=7');
  }
}

/** "a,b" → configurations. */
export function parseConfigs(text: string): Configuration[] {
  const names = text.split(',').map((n) => n.trim());
  const configs = names.map(parseConfig);
  const twice = names.find((n, i) => names.indexOf(n) !== i);
  if (twice !== undefined)
    throw new UserError(`configuration "${twice}" is named twice`, 'name each once; --repeat runs all of them again');
  return configs;
}

/** One configuration by name. */
export function parseConfig(name: string): Configuration {
  const found = configurationNamed(name);
  if (!found) throw new UserError(`unknown configuration "${name}"`, `known are ${configurationNames.join(', ')}`);
  return found;
}

/** --set factor=value (several) on a base: the ad-hoc configuration `custom`. */
export function parseSets(sets: readonly string[], base: string): Configuration {
  const custom: Configuration = { name: 'custom', factors: parseConfig(base).factors };
  const named = new Set<string>();
  for (const set of sets) {
    const at = set.indexOf('=');
    if (at < 1) throw new UserError(`"--set ${set}" is not factor=value`, 'write for example --set lro=false');
    const name = set.slice(0, at);
    const value = set.slice(at + 1);
    if (!Object.hasOwn(FACTOR_VALUES, name)) {
      throw new UserError(`unknown factor "${name}"`, `known are ${Object.keys(FACTOR_VALUES).join(', ')}`);
    }
    if (named.has(name)) throw new UserError(`factor "${name}" is set twice`, 'set each once');
    named.add(name);
    try {
      custom.factors = changeFactors(custom.factors, { [name]: parseFactor(name, value) });
    } catch {
      const values = FACTOR_VALUES[name as keyof typeof FACTOR_VALUES].join(', ');
      throw new UserError(`factor ${name} cannot be "${value}"`, `give one of ${values}`);
    }
  }
  return custom;
}

/** --pace recorded|max|FACTOR. @returns 0 for as fast as possible, 1 for as recorded, else how many times as fast */
export function parsePace(text: string): number {
  if (text === 'recorded') return 1;
  if (text === 'max') return 0;
  const n = decimal(text);
  if (!(n > 0 && n <= 1e6))
    throw new UserError(`pace "${text}" is not known`, 'give recorded, max, or a factor above 0 such as 2.5');
  return n;
}

export interface MacRule {
  /** Lower case, with colons. */
  mac: string;
  /** Guest number, from 1. */
  guest: number;
}

/** --map MAC=guestN. */
export function parseMap(text: string): MacRule {
  const m = /^((?:[0-9a-f]{2}:){5}[0-9a-f]{2})=guest(\d{1,2})$/i.exec(text);
  if (!m) throw new UserError(`"--map ${text}" is not MAC=guestN`, 'write for example --map 00:16:3e:00:00:01=guest1');
  const mac = m[1].toLowerCase();
  if (Number.parseInt(mac.slice(0, 2), 16) & 1)
    throw new UserError(`${mac} is a group address`, 'map unicast addresses only; group frames go to every guest');
  return { mac, guest: integerIn(m[2], 'the guest in --map', 1, MAX_GUESTS) };
}

/** For commander's option(). */
export const DIR_OPTION = [
  '--dir <dir>',
  'directory of the testbed (default: GRANTLINE_DIR, or one per user in memory)',
] as const;

/** The same, of commands with a live page. */
export const PAGE_OPTION = [
  '--page <host:port>',
  'where the live page is served; who can reach it can use its controls (default: 127.0.0.1:7680, or a free port)',
] as const;
export const PAGE_NAME_OPTION = [
  '--page-name <names>',
  'names under which the live page may be opened beside its address, with commas: lab1.example.org; behind a TLS proxy with its port, where that is not 443',
] as const;
export const NO_PAGE_OPTION = ['--no-page', 'no live page'] as const;

/** --page HOST:PORT, --no-page and --page-name NAME[:PORT],... @returns null when there is to be no page */
export function parsePage(option: string | false | undefined, names?: string): PageChoice | null {
  const list = names?.split(',') ?? [];
  const wrong = list.find((name) => !new RegExp(`^${NAME_FORM}$`).test(name));
  if (wrong !== undefined)
    throw new UserError(
      `"${wrong}" is no name of a page`,
      'give host names, with the port of a proxy where that is not 443: --page-name lab1.example.org',
    );
  if (option === false) return null;
  return { at: option === undefined ? null : parseListen(option), names: list };
}

/** @throws UserError when it is no limit that a vif can have */
export function checkRate(text: string): void {
  try {
    parseRate(text);
  } catch (err) {
    throw new UserError((err as Error).message, 'give --rate as xl does: 100Mb/s, 1GB/s@20ms');
  }
}
