/** From what was typed to what is measured: each option judged, the configurations, the runs. */
import { configurationNames, type Configuration } from '@grantline/base';
import type { CompareSettings } from '../report/results.js';
import { REQUEST_BYTES, REQUEST_TIMEOUT_MS, type RequestPlan } from '../control/load-api.js';
import type { RunPlan } from '../runner/record.js';
import { UserError } from '../base/errors.js';
import { parseRepeat, parseSeconds } from '../base/option-values.js';
import {
  parseConfigs,
  parseBeside,
  parseDirection,
  parseFaultsOption,
  parseFlows,
  parseFrame,
  parseGuests,
  parseInFlight,
  parseLink,
  parseProtocol,
  parseRequestRate,
  parseSeed,
  parseSets,
  parseWarmup,
  parseWorkload,
} from './options.js';
import type { RemoteArguments } from './remote.js';

export interface CompareArguments extends RemoteArguments {
  configs?: string;
  /** Not given: rx. */
  direction?: string;
  workload: string;
  set: string[];
  base?: string;
  guests?: string;
  frame?: string;
  inflight?: string;
  beside?: string;
  rate?: string;
  faults?: string;
  seconds: string;
  warmup: string;
  link: string;
  pause: boolean;
  pin: boolean;
  placement?: string;
  protocol?: string;
  flows?: string;
  repeat: string;
  seed: string;
  json?: string;
  /** false: --no-page. */
  page?: string | false;
  pageName?: string;
  dir?: string;
  /** In containers. */
  compose?: true;
}

/** What a comparison measures. */
export interface ComparePlan {
  configs: Configuration[];
  settings: CompareSettings;
  /** A series of runs of all configurations for each. */
  series: Omit<RunPlan, 'name'>[];
}

/** @throws UserError */
export function planOf(args: CompareArguments): ComparePlan {
  const workload = parseWorkload(args.workload);
  refuseMisplaced(args, workload);
  const betweenGuests = workload === 'guest-to-guest';
  const rr = workload === 'rr';
  const faults = parseFaultsOption(args.faults);
  const requests = rr ? requestPlans(args) : [];
  const tcp = workload === 'tcp';
  const configs = betweenGuests || tcp ? guestConfigs(args, tcp) : chosen(args);
  const frame = args.frame ?? (rr ? String(REQUEST_BYTES) : '1514');
  const frameSizes = parseFrame(frame);
  if (rr && frameSizes.length > 1) throw new UserError('requests have one size', 'give --frame a number');
  const directions = workload === 'load' || tcp ? parseDirection(args.direction ?? 'rx') : ([workload] as const);
  const settings: CompareSettings = {
    workload,
    directions: [...directions],
    guests: guestsOf(args, betweenGuests),
    frameBytes: frame === 'imix' ? 'imix' : frameSizes[0],
    frameSizes,
    seconds: parseSeconds(args.seconds),
    warmup: parseWarmup(args.warmup),
    linkGbps: parseLink(args.link),
    flowControl: args.pause,
    protocol: parseProtocol(args.protocol ?? 'auto'),
    flows: tcp && args.flows === undefined ? 1 : parseFlows(args.flows ?? '4'),
    repeat: parseRepeat(args.repeat),
    seed: parseSeed(args.seed),
    ...(faults === null ? {} : { faults: args.faults ?? null }),
  };
  checkFlows(settings);
  const common = { ...settings, protocol: parseProtocol(args.protocol ?? 'auto'), faults };
  const series = directions.flatMap((direction): ComparePlan['series'] =>
    direction === 'rr'
      ? requests.map((plan) => ({ ...common, direction, rr: plan }))
      : [{ ...common, direction, ...(tcp ? { streams: settings.flows } : {}) }],
  );
  return { configs, settings, series };
}

/** Flows carry their number in each frame: there is room for 2048. */
const MAX_FLOWS = 2048;
/** Shortest TCP frame with timestamps and the receiver's stamp. */
const MIN_TCP_BYTES = 84;

function checkFlows(s: CompareSettings): void {
  if (s.flows * s.guests > MAX_FLOWS)
    throw new UserError(
      `${s.flows} flows to each of ${s.guests} guests are too many`,
      `take at most ${Math.floor(MAX_FLOWS / s.guests)} flows`,
    );
  if (s.protocol === 'tcp' && Math.min(...s.frameSizes) < MIN_TCP_BYTES) {
    throw new UserError(
      `frames of ${Math.min(...s.frameSizes)} bytes cannot be TCP`,
      `take at least ${MIN_TCP_BYTES} bytes, or --protocol auto or udp`,
    );
  }
}

/** The series of runs: alone, then beside bulk, each with all numbers in flight. */
function requestPlans(args: CompareArguments): RequestPlan[] {
  const inFlight = parseInFlight(args.inflight ?? '1,32');
  const perSecond = parseRequestRate(args.rate);
  return parseBeside(args.beside ?? 'both').flatMap((beside) =>
    inFlight.map((n) => ({ inFlight: n, beside, perSecond, timeoutMs: REQUEST_TIMEOUT_MS })),
  );
}

/** What only some workloads take; anywhere else it would be ignored in silence. */
const TAKEN_BY: readonly [option: 'direction' | 'inflight' | 'beside' | 'rate' | 'frame' | 'protocol', string[]][] = [
  ['direction', ['load', 'tcp']],
  ['inflight', ['rr']],
  ['beside', ['rr']],
  ['rate', ['rr']],
  ['frame', ['load', 'guest-to-guest', 'rr']],
  ['protocol', ['load', 'guest-to-guest']],
];

function refuseMisplaced(args: CompareArguments, workload: string): void {
  for (const [option, by] of TAKEN_BY)
    if (args[option] !== undefined && !by.includes(workload))
      throw new UserError(
        `--${option} is not for the workload ${workload}`,
        `leave it out, or take --workload ${by.join(' or ')}`,
      );
  if (args.base !== undefined && args.set.length === 0)
    throw new UserError('--base is given and --set is not', 'give --set factor=value, or name it with --configs');
}

function guestsOf(args: CompareArguments, betweenGuests: boolean): number {
  const n = parseGuests(args.guests ?? (betweenGuests ? '2' : '1'));
  if (betweenGuests && n < 2) throw new UserError('one guest has none to send to', 'take --guests 2 or more');
  return n;
}

/** True when the user has named configurations: what cannot be measured is then refused, and not left out. */
const named = (args: CompareArguments): boolean => args.configs !== undefined || args.set.length > 0;

/** Those in which guests take part: with a TCP/IP stack of their own, and a bridge between them. */
function guestConfigs(args: CompareArguments, tcp: boolean): Configuration[] {
  const all = chosen(args);
  const native = all.find((c) => c.factors.path === 'native');
  if (named(args) && native !== undefined)
    throw new UserError(
      tcp
        ? 'in native nothing of the guest is in the path, its TCP/IP stack neither'
        : `${native.name} has no guests to send to each other`,
      'take baseline, multiqueue, grant-reuse, optimised or direct',
    );
  return all.filter((c) => c.factors.path !== 'native');
}

function chosen(args: CompareArguments): Configuration[] {
  // --set alone compares the base with the changed one: that is what it is asked for.
  const base = args.base ?? 'optimised';
  const configs = parseConfigs(args.configs ?? (args.set.length > 0 ? base : configurationNames.join(',')));
  if (args.set.length > 0) configs.push(parseSets(args.set, base));
  if (configs.length === 0)
    throw new UserError('no configuration is named', `known are ${configurationNames.join(', ')}`);
  return configs;
}
