/** What TCP makes of ICMP errors: believed only for a segment that is under way, and hard errors only while a connection
 *  opens (RFC 5927, 4 to 6). Source of the path MTU: RFC 1191. */
import { IP_BYTES, TCP_BYTES } from '@grantline/frames';
import type { IcmpError } from '../ip/icmp.js';
import { onTimeout } from './recovery.js';
import { seqGe, seqLt } from './seq.js';
import { closeWith, isOpening } from './control.js';
import type { TcpShared } from './tcb.js';
import { setMss } from './negotiate.js';
import { ERR_REFUSED, ERR_UNREACHABLE, ESTABLISHED } from './state.js';

const UNREACHABLE = 3;
const PROTOCOL = 2;
const PORT = 3;
const TOO_BIG = 4;
/** RFC 1191: every link carries 68; below 552 it is more likely an attack than a link. */
const SMALLEST_MTU = 552;

export function tcpIcmpError(tcp: TcpShared, error: IcmpError): void {
  const tcb = tcp.table.find(error.src, error.srcPort, error.dst, error.dstPort);
  if (tcb === null || error.type !== UNREACHABLE) return;
  if (!seqGe(error.seq, tcb.sndUna) || !seqLt(error.seq, tcb.sndMax)) return;
  if (error.code === TOO_BIG) {
    const mtu = Math.max(error.mtu, SMALLEST_MTU);
    const before = tcb.mss;
    if (tcb.state < ESTABLISHED || mtu >= tcp.host.set.mtu) return;
    setMss(tcb, mtu - IP_BYTES - TCP_BYTES);
    if (tcb.mss >= before) {
      tcb.mss = before;
      return;
    }
    // All that is under way was too long: again, in smaller pieces; not a sign of congestion.
    const { ssthresh } = tcb;
    onTimeout(tcb);
    tcb.ssthresh = ssthresh;
    tcp.markDirty(tcb);
  } else if (isOpening(tcb) && tcb.listener === null) {
    if (error.code === PROTOCOL || error.code === PORT) closeWith(tcb, ERR_REFUSED);
    // Others may pass; they are the reason given if the opening fails.
    else tcb.error = ERR_UNREACHABLE;
  }
}
