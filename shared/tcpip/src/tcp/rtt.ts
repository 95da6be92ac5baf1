/** The retransmission timer's value from round-trip times. Source: RFC 6298. Times in microseconds, the timer's in
 *  milliseconds. */
import type { Tcb } from './tcb.js';

/** G of the RFC: the stack's clock ticks in milliseconds. */
const GRANULARITY_US = 1000;
const LONGEST_US = 1 << 27;

/** Takes a sample: section 2, with the gains 1/8 and 1/4. Ends a backoff. */
export function sampleRtt(tcb: Tcb, roundTripUs: number): void {
  const us = Math.max(1, Math.min(Math.round(roundTripUs), LONGEST_US));
  if (tcb.srtt8 === 0) {
    tcb.srtt8 = us << 3;
    tcb.rttvar4 = us << 1;
  } else {
    const delta = us - (tcb.srtt8 >> 3);
    tcb.rttvar4 += Math.abs(delta) - (tcb.rttvar4 >> 2);
    tcb.srtt8 = Math.max(1, tcb.srtt8 + delta);
  }
  const { rtoMinMs, rtoMaxMs } = tcb.tcp.host.set;
  const ms = Math.ceil(((tcb.srtt8 >> 3) + Math.max(GRANULARITY_US, tcb.rttvar4)) / 1000);
  tcb.rtoMs = Math.max(rtoMinMs, Math.min(ms, rtoMaxMs));
}

/** Section 5.5: doubles the timer. */
export function backOff(tcb: Tcb): void {
  tcb.rtoMs = Math.min(tcb.rtoMs * 2, tcb.tcp.host.set.rtoMaxMs);
}

/** Takes a sample from an acknowledgement of new data: by its timestamp (RFC 7323, 4), else by the one segment that is
 *  timed, which was not retransmitted (Karn). */
export function sampleFromAck(tcb: Tcb, ack: number, hasTs: boolean, tsEcr: number): void {
  const { host } = tcb.tcp;
  if (tcb.tsOk && hasTs) {
    const ticks = (host.now + tcb.tsOffset - tsEcr) | 0;
    // What cannot be an echo of ours says nothing.
    if (ticks >= 0 && ticks < LONGEST_US / 1000) sampleRtt(tcb, ticks * 1000);
  } else if (tcb.timing && ((ack - tcb.rttSeq) | 0) >= 0) {
    sampleRtt(tcb, host.nowUs - tcb.rttUs);
  }
  if (tcb.timing && ((ack - tcb.rttSeq) | 0) >= 0) tcb.timing = false;
}
