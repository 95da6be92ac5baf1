/** What an injector of faults is to do: probabilities, of which at most one comes true for a frame, and a seed. Pure. */

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
