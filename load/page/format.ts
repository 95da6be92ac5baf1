/** Figures as people read them; the same rounding as in the command's table. Pure. */

/** "optimised", "optimised, tx": frames to the guests need no saying. */
export const named = (config: string, direction: string | undefined): string =>
  direction === undefined || direction === 'rx' ? config : `${config}, ${direction}`;

/** The configuration's own part of such a name. */
export const configOf = (name: string): string => name.split(',')[0] ?? name;

/** Thousands with commas. */
export const whole = (x: number): string =>
  Math.round(x)
    .toFixed(0)
    .replace(/\B(?=(\d{3})+$)/g, ',');

/** Gb/s with two places, as in the command's table. */
export const gbps = (x: number): string => x.toFixed(2);

/** Frames per second in millions. */
export const mega = (x: number): string => (x / 1e6).toFixed(3);

/** A rate with a prefix: "812 k", "1.20 M". */
export function rate(x: number): string {
  if (x >= 1e6) return `${(x / 1e6).toFixed(2)} M`;
  if (x >= 1e4) return `${(x / 1e3).toFixed(0)} k`;
  if (x >= 1e3) return `${(x / 1e3).toFixed(1)} k`;
  return x >= 10 || x === 0 ? x.toFixed(0) : x.toFixed(1);
}

/** Counts per frame: two places, 0 as 0. */
export function small(x: number): string {
  if (x === 0) return '0';
  if (x > 0 && x < 0.001) return '<0.001';
  return Math.abs(x) < 0.01 ? x.toFixed(4) : x.toFixed(2);
}

export const micros = (us: number): string => (us < 10 ? us.toFixed(1) : whole(us));

/** A time with its unit: "86 µs", "1.97 ms". */
export function duration(us: number): string {
  if (us < 1000) return `${micros(us)} µs`;
  return us < 1e6 ? `${(us / 1e3).toFixed(us < 1e5 ? 2 : 0)} ms` : `${(us / 1e6).toFixed(2)} s`;
}

export const percent = (share: number): string => `${(share * 100).toFixed(1)} %`;

/** Share of frames lost; a negative count is a fault and is shown as it is. */
export function loss(lost: number, sent: number): string {
  if (lost <= 0 || sent === 0) return lost < 0 ? `${lost}` : '0';
  const share = (lost / sent) * 100;
  return share < 0.01 ? '<0.01 %' : `${share.toFixed(2)} %`;
}

/** 24-hour local time of an epoch time in milliseconds. */
export function clock(ms: number): string {
  const d = new Date(ms);
  return [d.getHours(), d.getMinutes(), d.getSeconds()].map((n) => String(n).padStart(2, '0')).join(':');
}

/** "netback.dropQueueFull" as "netback: queue full". */
export function dropName(key: string): string {
  const [where = '', reason = ''] = key.split('.');
  const words = (text: string): string => text.replace(/([a-z])([A-Z])/g, '$1 $2').toLowerCase();
  return `${words(where)}: ${words(reason.replace(/^drop/, '')).replace('dma', 'DMA')}`;
}

/** "1 guest", "2 guests". */
export const counted = (n: number, noun: string): string => `${n} ${noun}${n === 1 ? '' : 's'}`;

export const linkText = (gbit: number | null): string => (gbit === null ? 'link unlimited' : `link ${gbit} Gb/s`);
