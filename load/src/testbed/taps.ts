/** --tap and --guest-tap: which kernels stand at the far end of the cable and in guests. docs/tap.md */
import { statSync } from 'node:fs';
import { TAP_PLACE_FORM, netnsPath, parseTapPlace, type TapPlace, NETWORK_PREFIX, OUTER_IP } from '@grantline/base';
import { UserError } from '../base/errors.js';

/** The TAP devices of a testbed. */
export interface Taps {
  /** At the far end of the cable; null: our own stack. */
  far: TapPlace | null;
  /** By guest. */
  guests: ReadonlyMap<number, TapPlace>;
  /** With vnet headers and offloads. */
  offload: boolean;
}

/** What was typed. */
export interface TapArguments {
  tap?: string;
  guestTap?: readonly string[];
  tapOffload?: boolean;
}

/** Judges what was typed, without a look at the machine. @throws UserError */
export function parseTaps(args: TapArguments, guestCount: number): Taps {
  const far = args.tap === undefined ? null : place('--tap', args.tap);
  const guests = new Map<number, TapPlace>();
  for (const text of args.guestTap ?? []) {
    const [, number, device = ''] = /^(?:guest(\d+)=)?(.*)$/.exec(text) ?? [];
    let guest = Number(number);
    if (number === undefined) for (guest = 1; guests.has(guest); guest++);
    if (guest < 1 || guest > guestCount)
      throw new UserError(
        `--guest-tap ${text} is for guest${guest}, and there ${guestCount === 1 ? 'is 1 guest' : `are ${guestCount} guests`}`,
        `take --guests ${Math.max(guest, 1)} or more, or another guest`,
      );
    if (guests.has(guest))
      throw new UserError(`guest${guest} is given two devices`, 'a guest has one interface: name it once');
    guests.set(guest, place('--guest-tap', device));
  }
  const taps = { far, guests, offload: args.tapOffload !== false };
  eachItsOwn(taps, (netns) => netns ?? '');
  return taps;
}

/** @param is what tells namespaces apart @throws UserError */
function eachItsOwn(taps: Taps, is: (netns: string | null) => string): void {
  const where = new Map<string, string>();
  for (const [who, { netns }] of named(taps)) {
    const other = where.get(is(netns));
    if (other !== undefined)
      throw new UserError(
        `${other} and ${who} are both in ${netns === null ? 'the own network namespace' : `the network namespace ${netns}`}`,
        'give each its own (ip netns add NAME, then DEVICE,NAME): a kernel does not send to itself through a wire',
      );
    where.set(is(netns), who);
  }
}

/** One namespace may have several names. */
function identity(netns: string | null): string {
  const { dev, ino } = statSync(netnsPath(netns), { bigint: true });
  return `${dev}:${ino}`;
}

/** Whose each device is, in the order of printing. */
function named(taps: Taps): [string, TapPlace][] {
  const guests = [...taps.guests].sort(([a], [b]) => a - b);
  return [
    ...(taps.far === null ? [] : [['the far end', taps.far] as [string, TapPlace]]),
    ...guests.map(([n, at]): [string, TapPlace] => [`guest${n}`, at]),
  ];
}

/** Tries whether the devices can be made. @throws UserError with what is in the way and what to do about it */
export async function checkTaps(taps: Taps): Promise<void> {
  const all = named(taps);
  if (all.length === 0) return;
  // Loads the C library: only for who wants a device.
  const { tryTap } = await import('@grantline/machine');
  for (const [, at] of all) {
    const refusal = tryTap(at);
    if (refusal !== null) throw new UserError(refusal.what, refusal.todo);
  }
  eachItsOwn(taps, identity);
}

const text = ({ name, netns }: TapPlace): string => (netns === null ? name : `${name},${netns}`);

/** The environment of the NIC. */
export const farTapEnv = (taps: Taps): Record<string, string> =>
  taps.far === null ? {} : { GRANTLINE_FAR_END: `tap:${text(taps.far)}`, ...offloadEnv(taps) };

/** The environment of a guest. */
export function guestTapEnv(taps: Taps, guest: number): Record<string, string> {
  const at = taps.guests.get(guest);
  return at === undefined ? {} : { GRANTLINE_TAP: text(at), ...offloadEnv(taps) };
}

const offloadEnv = (taps: Taps): Record<string, string> => (taps.offload ? {} : { GRANTLINE_TAP_OFFLOAD: '0' });

/** What there is now, and what to type. @param guests their addresses, as the toolstack gave them */
export function tapLines(taps: Taps, guests: ReadonlyMap<number, string>): string[] {
  const lines: string[] = [];
  const { far } = taps;
  const ip = (n: number): string => guests.get(n) ?? '?';
  if (far !== null) {
    lines.push(`far end    ${far.name} ${OUTER_IP}/${NETWORK_PREFIX}${inside(far)}`);
    for (const n of [...guests.keys()].slice(0, 3)) lines.push(`           try: ${enter(far)}ping ${ip(n)}`);
  }
  for (const [n, at] of [...taps.guests].sort(([a], [b]) => a - b)) {
    lines.push(
      `guest${n}${' '.repeat(Math.max(1, 6 - String(n).length))}${at.name} ${ip(n)}/${NETWORK_PREFIX}${inside(at)}`,
    );
    lines.push(`           try: ${enter(at)}ping ${OUTER_IP}`);
  }
  return lines;
}

const inside = ({ netns }: TapPlace): string => (netns === null ? '' : ` in the network namespace ${netns}`);
function enter({ netns }: TapPlace): string {
  if (netns === null) return '';
  if (!/^\/|^pid:/.test(netns)) return `ip netns exec ${netns} `;
  const path = netnsPath(netns);
  return `nsenter --net=${/^[\w./-]+$/.test(path) ? path : `'${path}'`} `;
}

function place(option: string, given: string): TapPlace {
  const at = parseTapPlace(given);
  if (at === null) throw new UserError(`${option} "${given}" names no device`, `give ${TAP_PLACE_FORM}`);
  return at;
}
