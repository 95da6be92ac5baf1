/** How much a vif may send, as an operator writes it and as xenstore has it. Sources: Xen, docs/man/xl-network-configuration
 *  (`rate=<RATE>/s[@<INTERVAL>]`, 50 ms when none is given), libxlu_vif.c; xenstore node `rate`, "bytes,usec". */

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
