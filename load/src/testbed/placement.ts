/** Where the data threads of a testbed run, by what its cores hand to each other: docs/adr/0024. */
import { setTimeout as sleep } from 'node:timers/promises';
import { allowedCores, coreFor, type Placement } from '@grantline/base';
import type { Handover } from '@grantline/machine';
import { UserError } from '../base/errors.js';

/** What can be asked for: auto measures and decides. */
export const PLACEMENTS = ['auto', 'together', 'apart', 'none'] as const;
export type PlacementChoice = (typeof PLACEMENTS)[number];

/** For commander's option(). Of commands that may start a testbed. */
export const PLACEMENT_OPTION = [
  '--placement <where>',
  'data threads of an own testbed: together on one core, apart on several, none (left to the scheduler), or auto: by what cores hand to each other (default: auto)',
] as const;
export const NO_PIN_OPTION = ['--no-pin', 'the same as --placement none'] as const;

/** --placement and --no-pin. @param args without both: nothing was said @throws UserError */
export function parsePlacement(args: { placement?: string; pin?: boolean }): PlacementChoice {
  const { placement: text } = args;
  const choice = PLACEMENTS.find((p) => p === text);
  if (text !== undefined && choice === undefined)
    throw new UserError(`unknown placement "${text}"`, `give ${PLACEMENTS.join(', ')}`);
  if (args.pin === false && choice !== undefined && choice !== 'none')
    throw new UserError(`--no-pin and --placement ${choice} contradict each other`, 'leave one of them out');
  return choice ?? (args.pin === false ? 'none' : 'auto');
}

/** Where a testbed's data threads run, and why. */
export interface Placed {
  /** null: it ran before. */
  asked: PlacementChoice | null;
  /** null: it ran before, and does not say. */
  placement: Placement | null;
  /** What the probe said before anything ran; null: it could not measure. */
  handover: Handover | null;
}

/** The same with what the probe said afterwards, as results keep it. */
export interface PlacementRecord extends Omit<Placed, 'handover'> {
  before: Handover | null;
  after: Handover | null;
}

/** Below this share of what a core copies by itself, what it hands to the other one comes too slowly for two to carry more than one. */
export const SLOW_HANDOVER = 0.17;
/** With so many cores each guest and each domain has one of its own: what waits for a hand-over is not what they all wait for. */
const MANY_CORES = 4;

/** The rule of `auto`. @param handover null: not measured; then it is as it was before there was a probe
 *  @param cores how many there are @param guests of the testbed */
export function placementFor(handover: Handover | null, cores: number, guests: number): Placement {
  if (cores < 2) return 'none';
  if (handover === null || handover.handoverGbps === null) return 'apart';
  if (guests > 1 && cores >= MANY_CORES) return 'apart';
  return handover.handoverGbps < SLOW_HANDOVER * handover.aloneGbps ? 'together' : 'apart';
}

/** Between the cores that frames go between when they are apart. @returns null where it cannot be measured */
export async function probeCores(): Promise<Handover | null> {
  const cores = allowedCores();
  const ends = [coreFor('nic', 0, cores), coreFor('guest', 0, cores)].filter((core) => core !== null);
  // Commands that start no testbed need no native calls.
  const { measureHandover } = await import('@grantline/machine');
  try {
    return await measureHandover(ends.length === 2 ? ends : cores.slice(0, 1));
  } catch {
    return null;
  }
}

/** Cores that are far from each other may be near again a few seconds later, and `together` then loses more than `apart` does on far
 *  ones: they count as far when they are so each of so many times. */
const LOOKS = 3;
const BETWEEN_LOOKS_MS = 1000;

/** Measures, and decides where nothing else was asked for. Nothing of the testbed runs yet.
 *  @param probe @param betweenMs replaced in tests */
export async function place(
  asked: PlacementChoice,
  guests: number,
  probe = probeCores,
  betweenMs = BETWEEN_LOOKS_MS,
): Promise<Placed & { placement: Placement }> {
  const cores = allowedCores().length;
  let handover = await probe();
  if (asked !== 'auto' && cores > 1) return { asked, placement: asked, handover };
  for (let looks = 1; looks < LOOKS && placementFor(handover, cores, guests) === 'together'; looks++) {
    await sleep(betweenMs);
    handover = await probe();
  }
  return { asked, placement: placementFor(handover, cores, guests), handover };
}

/** Measures once more when all is done. */
export async function measuredAfter({ asked, placement, handover }: Placed): Promise<PlacementRecord> {
  return { asked, placement, before: handover, after: await probeCores() };
}

/** "one core copies 165 Gb/s by itself, 80 Gb/s reach the other, a word there and back takes 140 ns, a wake-up 40 us" */
export function handoverText(h: Handover | null): string {
  if (h === null) return 'what cores hand to each other could not be measured';
  const gbps = (x: number): string => `${x.toFixed(x < 10 ? 1 : 0)} Gb/s`;
  const other =
    h.handoverGbps === null || h.roundTripNs === null
      ? 'there is no other'
      : `${gbps(h.handoverGbps)} reach the other, a word there and back takes ${h.roundTripNs.toFixed(0)} ns`;
  return `one core copies ${gbps(h.aloneGbps)} by itself, ${other}, a wake-up ${h.wakeUs.toFixed(0)} us`;
}

/** "together (auto)" */
export function placementText({ asked, placement }: Pick<Placed, 'asked' | 'placement'>): string {
  if (asked === null) return `${placement ?? 'not known'} (as the testbed has it)`;
  const how = asked === 'auto' ? asked : asked === placement ? 'as asked for' : `not ${asked}: there is one core`;
  return `${placement ?? 'not known'} (${how})`;
}

export const placedLine = (p: Placed): string => `Placement: ${placementText(p)}; ${handoverText(p.handover)}.`;

/** What stands below a table. */
export const placementLines = (r: PlacementRecord): string[] => [
  placedLine({ ...r, handover: r.before }),
  `Afterwards ${handoverText(r.after)}.`,
];
