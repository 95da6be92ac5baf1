/** What both ends agree on by their SYNs. Source: RFC 9293, 3.7.1 (MSS), RFC 7323 (window scale, timestamps), RFC 2018. */
import { IP_BYTES, TCP_BYTES } from '@grantline/frames';
import { initialWindow } from './recovery.js';
import type { Segment } from './segment.js';
import type { Tcb } from './tcb.js';
import { TS_OPTION_BYTES } from './options.js';
import { scaleFor } from './window.js';

/** RFC 9293, 3.7.1: without the option. */
const DEFAULT_MSS = 536;
/** Smaller ones would make us send mostly headers: an old attack (CVE-2019-11479). */
export const SMALLEST_MSS = 88;

/** What the peer's SYN says that it takes in a segment, options included. */
export const offeredMss = (seg: Segment): number => Math.max(SMALLEST_MSS, seg.mss === 0 ? DEFAULT_MSS : seg.mss);

/** What a SYN of ours offers; taken back by `negotiate` where the peer does not. */
export function offer(tcb: Tcb): void {
  tcb.rcvScale = tcb.tcp.host.set.windowScale ? scaleFor(tcb.tcp.host.set.receiveBuffer) : 0;
}

/** Takes the options of the peer's SYN. */
export function negotiate(tcb: Tcb, seg: Segment): void {
  const { host } = tcb.tcp;
  const { set } = host;
  if (set.windowScale && seg.scale >= 0) {
    tcb.sndScale = seg.scale;
    tcb.rcvScale = scaleFor(set.receiveBuffer);
    tcb.scaleOk = true;
  } else {
    tcb.sndScale = 0;
    tcb.rcvScale = 0;
  }
  tcb.tsOk = set.timestamps && seg.hasTs;
  if (tcb.tsOk) {
    tcb.tsRecent = seg.tsVal;
    tcb.tsRecentMs = host.now;
  }
  tcb.sackOk = set.sack && seg.sackPermitted;
  setMss(tcb, offeredMss(seg));
  tcb.rcvMss = set.mtu - IP_BYTES - TCP_BYTES - (tcb.tsOk ? TS_OPTION_BYTES : 0);
  tcb.cwnd = initialWindow(tcb.mss);
}

/** @param most what the peer or the path allows, options included */
export function setMss(tcb: Tcb, most: number): void {
  const own = tcb.tcp.host.set.mtu - IP_BYTES - TCP_BYTES;
  tcb.mss = Math.min(most, own) - (tcb.tsOk ? TS_OPTION_BYTES : 0);
}
