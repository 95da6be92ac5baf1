/** Figures and words as people read them. Pure, and the same everywhere: no locale. */

/** Thousands with commas: 812743 is "812,743". */
export function whole(x: number): string {
  return Math.round(x)
    .toFixed(0)
    .replace(/\B(?=(\d{3})+$)/g, ',');
}

/** Rates in Gb/s: three significant places from 1 up. */
export function gbps(x: number): string {
  if (x >= 100) return whole(x);
  return x.toFixed(x >= 10 ? 1 : 2);
}

/** Two significant places, 0 as 0: counts per frame. */
export function small(x: number): string {
  if (x === 0) return '0';
  if (x > 0 && x < 0.001) return '<0.001';
  if (x >= 100) return whole(x);
  return x < 0.01 ? x.toFixed(4) : x.toFixed(2);
}

/** CPU nanoseconds per frame: 0 where there is none, not "0.3". */
export function nanos(ns: number): string {
  if (ns === 0) return '0';
  return ns > 0 && ns < 0.5 ? '<1' : whole(ns);
}

export const micros = (us: number): string => (us < 10 ? us.toFixed(1) : whole(us));

export const percent = (share: number, digits = 1): string => `${(share * 100).toFixed(digits)} %`;

export function times(ratio: number): string {
  if (ratio >= 10) return whole(ratio);
  return ratio.toFixed(ratio >= 0.95 ? 1 : 2);
}

/** Share of frames that were lost; negative counts are shown as they are, for they are a fault. */
export function loss(lost: number, sent: number): string {
  if (lost <= 0 || sent === 0) return lost < 0 ? `${lost}` : '0';
  const share = (lost / sent) * 100;
  return share < 0.01 ? '<0.01 %' : `${share.toFixed(2)} %`;
}

export const mebibytes = (bytes: number): string => `${whole(bytes / 2 ** 20)} MiB`;

/** "a", "a and b", "a, b and c". */
export function listed(parts: readonly string[]): string {
  if (parts.length < 2) return parts.join('');
  return `${parts.slice(0, -1).join(', ')} and ${parts[parts.length - 1]}`;
}

/** "1 guest", "2 guests". */
export const counted = (n: number, noun: string): string => `${whole(n)} ${noun}${n === 1 ? '' : 's'}`;

/** What carries the load of a comparison. */
export function loadText(s: { workload?: string; frameBytes: number | 'imix'; flows: number }): string {
  if (s.workload === 'tcp') return `${counted(s.flows, 'TCP stream')} to each`;
  return s.frameBytes === 'imix' ? 'IMIX frames' : `${s.frameBytes}-byte frames`;
}

/** A word as a shell takes it. */
export const quoted = (word: string): string =>
  /^[\w./:=,+@%-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
