/** Timers of a connection: retransmission (RFC 6298), window probes (RFC 9293, 3.8.6.1), delayed acknowledgement
 *  (RFC 9293, 3.8.6.3), keep-alive (RFC 9293, 3.8.4), TIME-WAIT. They only note what is due; output sends it. */
import {
  ERR_NONE,
  ERR_TIMEDOUT,
  ESTABLISHED,
  EV_WRITABLE,
  SYN_RECEIVED,
  SYN_SENT,
  TIME_WAIT,
  type Tcb,
} from './tcb.js';
import { C } from '../host.js';
import { onTimeout } from './recovery.js';
import { closeWith } from './control.js';

/** How often a connection that got no memory asks again. */
const MEMORY_RETRY_MS = 20;

/** G of the RFC: the stack's clock ticks in milliseconds. */
const GRANULARITY_US = 1000;
const LONGEST_US = 1 << 27;

export function startRetransmit(tcb: Tcb): void {
  tcb.persist = false;
  tcb.rtxMs = tcb.tcp.host.now + tcb.rtoMs;
  tcb.tcp.wake(tcb, tcb.rtxMs);
}

export function startPersist(tcb: Tcb): void {
  const { host } = tcb.tcp;
  if (!tcb.persist) {
    tcb.persist = true;
    if (tcb.persistSinceMs === 0) tcb.persistSinceMs = Math.max(1, host.now);
  }
  // Backs off like retransmission; the RTO itself is kept for the data to come.
  tcb.rtxMs = host.now + Math.min(tcb.rtoMs * 2 ** Math.min(tcb.tries, 10), host.set.rtoMaxMs);
  tcb.tcp.wake(tcb, tcb.rtxMs);
}

export function stopRetransmit(tcb: Tcb): void {
  tcb.rtxMs = 0;
  tcb.persist = false;
}

/** Every second segment is acknowledged at once, others after a while. */
export function startDelayedAck(tcb: Tcb): void {
  if (tcb.ackMs !== 0) return;
  tcb.ackMs = tcb.tcp.host.now + tcb.tcp.host.set.delayedAckMs;
  tcb.tcp.wake(tcb, tcb.ackMs);
}

export function startKeepAlive(tcb: Tcb): void {
  tcb.keepMs = tcb.tcp.host.now + tcb.keepIdleMs;
  tcb.keepTries = 0;
  tcb.tcp.wake(tcb, tcb.keepMs);
}

export function startLife(tcb: Tcb, ms: number): void {
  tcb.lifeMs = tcb.tcp.host.now + ms;
  tcb.tcp.wake(tcb, tcb.lifeMs);
}

export function startMemoryRetry(tcb: Tcb): void {
  tcb.memMs = tcb.tcp.host.now + MEMORY_RETRY_MS;
  tcb.tcp.wake(tcb, tcb.memMs);
}

/** Some deadline of the connection may have come. */
export function onTimer(tcb: Tcb): void {
  const { tcp } = tcb;
  const { now, v } = tcp.host;
  if (tcb.lifeMs !== 0 && tcb.lifeMs <= now) {
    closeWith(tcb, ERR_NONE);
    return;
  }
  if (tcb.ackMs !== 0 && tcb.ackMs <= now) {
    tcb.ackMs = 0;
    tcb.ackNow = true;
    v[C.tcpDelayedAcks]++;
    tcp.markDirty(tcb);
  }
  if (tcb.memMs !== 0 && tcb.memMs <= now) {
    tcb.memMs = 0;
    tcp.tell(tcb, EV_WRITABLE);
  }
  if (tcb.rtxMs !== 0 && tcb.rtxMs <= now) {
    tcb.rtxMs = 0;
    if (tcb.persist) persistDue(tcb);
    else retransmitDue(tcb);
  }
  if (tcb.keepMs !== 0 && tcb.keepMs <= now) keepAliveDue(tcb);
  rearm(tcb);
}

function rearm(tcb: Tcb): void {
  let next = Infinity;
  if (tcb.rtxMs !== 0) next = tcb.rtxMs;
  if (tcb.ackMs !== 0 && tcb.ackMs < next) next = tcb.ackMs;
  if (tcb.keepMs !== 0 && tcb.keepMs < next) next = tcb.keepMs;
  if (tcb.lifeMs !== 0 && tcb.lifeMs < next) next = tcb.lifeMs;
  if (tcb.memMs !== 0 && tcb.memMs < next) next = tcb.memMs;
  if (next !== Infinity) tcb.tcp.wake(tcb, next);
}

function retransmitDue(tcb: Tcb): void {
  const { tcp } = tcb;
  const { set, v } = tcp.host;
  const opening = tcb.state === SYN_SENT || tcb.state === SYN_RECEIVED;
  if (tcb.tries >= (opening ? set.synRetries : set.retries)) {
    v[C.tcpTimedOut]++;
    closeWith(tcb, tcb.error !== ERR_NONE ? tcb.error : ERR_TIMEDOUT);
    return;
  }
  v[C.tcpTimeouts]++;
  if (opening) {
    tcb.synDue = true;
    tcb.timing = false;
    v[C.tcpRetransmits]++;
  } else {
    onTimeout(tcb);
  }
  tcb.tries++;
  backOff(tcb);
  startRetransmit(tcb);
  // The neighbour may have changed its address.
  if (tcb.tries === 3) tcb.neighbor = null;
  tcp.markDirty(tcb);
}

function persistDue(tcb: Tcb): void {
  const { tcp } = tcb;
  const { now, set, v } = tcp.host;
  const patience = tcb.events === null ? set.orphanMs : set.persistTimeoutMs;
  // tries counts probes since the peer was last heard.
  if (tcb.tries >= set.retries || now - tcb.persistSinceMs > patience) {
    v[C.tcpPersistTimeout]++;
    closeWith(tcb, ERR_TIMEDOUT, true);
    return;
  }
  tcb.tries++;
  tcb.probeDue = true;
  startPersist(tcb);
  tcp.markDirty(tcb);
}

function keepAliveDue(tcb: Tcb): void {
  const { tcp } = tcb;
  const { now, set, v } = tcp.host;
  tcb.keepMs = 0;
  if (!tcb.keepAlive || tcb.state < ESTABLISHED || tcb.state === TIME_WAIT) return;
  const heard = tcb.lastHeardMs + tcb.keepIdleMs;
  if (heard > now || tcb.sndNxt !== tcb.sndUna) {
    // Not idle, or the retransmission timer watches over it.
    tcb.keepTries = 0;
    tcb.keepMs = Math.max(heard, now + 1000);
    return;
  }
  if (tcb.keepTries >= set.keepProbes) {
    v[C.tcpTimedOut]++;
    closeWith(tcb, ERR_TIMEDOUT, true);
    return;
  }
  tcb.keepTries++;
  tcb.keepMs = now + set.keepIntervalMs;
  tcb.keepDue = true;
  tcp.markDirty(tcb);
}

// The retransmission timer's value from round-trip times. Source: RFC 6298. Times in microseconds, the timer's in
// milliseconds.

/** Takes a sample: RFC 6298, section 2, with the gains 1/8 and 1/4. Ends a backoff. */
function sampleRtt(tcb: Tcb, roundTripUs: number): void {
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
function backOff(tcb: Tcb): void {
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
