/** What the toolstack tells all domains under /tool in xenstore: sessions and runs. docs/wire/control-plane.md sections 8 and 11. */

/** A session: the time for which somebody changes a running testbed. All domains put back what they had when it began. */
export const SESSION_PATH = '/tool/session';

/** open: keep what you have, it is going to be changed. ending: nothing of the session goes on. over: configuration and run
 *  are again those that were found; what was stopped for the session goes on. */
const STAGES = ['open', 'ending', 'over'] as const;
export type SessionStage = (typeof STAGES)[number];

export interface SessionAt {
  id: number;
  stage: SessionStage;
}

export const sessionText = ({ id, stage }: SessionAt): string => `${id} ${stage}`;

/** @returns null when the text is none */
export function parseSession(text: string | null): SessionAt | null {
  const [, id, word] = /^(\d{1,9}) ([a-z]+)$/.exec(text ?? '') ?? [];
  const stage = STAGES.find((s) => s === word);
  return id === undefined || stage === undefined ? null : { id: Number(id), stage };
}

/** Where a domain says how far it has followed: the text that it has done. @param home its directory in xenstore */
export const sessionAckPath = (home: string): string => `${home}/data/session`;

/** A run of frames that receivers are to get ready for. */
export const RUN_PATH = '/tool/run';
/** Most requests that may be in flight at once, and responses that wait for the device. */
export const MAX_IN_FLIGHT = 256;

const MODES = ['verify', 'record', 'off', 'respond'] as const;
/** What becomes of the frames: checked against what the generator sent, kept byte for byte, only copied, or (requests)
 *  answered, and all others checked. */
type RunMode = (typeof MODES)[number];

/** As the experimenter asks for it and the toolstack writes it. */
export interface RunSettings {
  id: number;
  seed: number;
  mode: RunMode;
  /** Bytes, without FCS. */
  frameSizes: number[];
  /** Domains that receive, or send. */
  guests: number[];
  /** Given where the guests send: what, and to whom. shared/measure/src/send/tool-run.ts reads it. */
  direction?: 'rx' | 'tx' | 'rr';
  protocol?: string;
  flows?: number;
  to?: { mac: string; ip: string };
  /** Guests that send to other guests, and to whom; the others only receive. */
  pairs?: { from: number; to: { mac: string; ip: string } }[];
  order?: number[];
}

/** As a receiver reads it: the id is only to be written back. */
export interface Run extends Pick<RunSettings, 'seed' | 'mode' | 'frameSizes' | 'guests'> {
  id: string;
}

/** @returns null when the text is no run */
export function parseRun(text: string | null): Run | null {
  let v: Partial<Record<keyof Run, unknown>> | null;
  try {
    v = JSON.parse(text ?? 'null') as typeof v;
  } catch {
    return null;
  }
  if (typeof v !== 'object' || v === null) return null;
  const { id, seed, frameSizes, guests } = v;
  const mode = MODES.find((m) => m === v.mode);
  if ((typeof id !== 'string' && typeof id !== 'number') || typeof seed !== 'number' || !mode) return null;
  if (!areCounts(frameSizes) || !areCounts(guests)) return null;
  return { id: String(id), seed, mode, frameSizes, guests };
}

const areCounts = (list: unknown): list is number[] =>
  Array.isArray(list) && list.every((n) => Number.isInteger(n) && n >= 0);
