/** What the paper published, as far as it is quoted here: its abstract. Nothing between the two ends is, so nothing is said
 *  of it. */

/** Ram, Santos, Turner, Cox, Rixner: "Achieving 10 Gb/s using Safe and Transparent Network Interface Virtualization",
 *  VEE 2009: receive throughput of one guest, in Gb/s, before and with all three optimisations. */
export const PAPER = { baselineGbps: 2.9, optimisedGbps: 10, ratio: 3.4 } as const;

export const PAPER_TITLE =
  'K. K. Ram, J. R. Santos, Y. Turner, A. L. Cox, S. Rixner: Achieving 10 Gb/s using Safe and Transparent Network Interface Virtualization, VEE 2009';

/** Each step of the paper adds to the one before; so slowest first. */
export const PAPER_ORDER: readonly string[] = ['baseline', 'multiqueue', 'grant-reuse', 'optimised'];
