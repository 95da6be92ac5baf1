/** What an equation of conservation is made of. */

/** Which way frames go, as a guest sees it; rr: requests to it, and its answers. */
export type Direction = 'rx' | 'tx' | 'guest-to-guest' | 'rr';

export interface Term {
  name: string;
  value: number;
}

export interface Hop {
  name: string;
  in: Term[];
  out: Term[];
}
