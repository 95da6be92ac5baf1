/** What a guest counts; in `native` the driver domain has its stack and its applications, and the far end of the cable has a
 *  receiver too. tx and rx are the guest's. */
import {
  both,
  contained,
  copied,
  copies,
  counters,
  drop,
  hidden,
  level,
  named,
  RX,
  sent,
  shown,
  suppressed,
  TX,
  type Entry,
} from '@grantline/machine';

const granted = (op: string): Entry => shown('grantline_netfront_grants_total', { op });
/** What both directions of a vif cost in netfront. */
const COST = {
  grantsIssued: granted('issued'),
  grantsRevoked: granted('revoked'),
  quarantined: granted('quarantined'),
  notifications: sent('netfront'),
  suppressed: suppressed('netfront'),
  poolGrants: level,
};

/** One vif in netfront. in = toStack + drops. Labels: vif. */
export const NETFRONT_COUNTERS = counters('netfront', 'vif', {
  responses: shown('grantline_netfront_responses_total'),
  frames: shown('grantline_netfront_frames_total', RX),
  bytes: shown('grantline_netfront_bytes_total', RX),
  toStack: hidden('the same frames as grantline_stack_frames_total'),
  dropError: drop,
  dropMalformed: drop,
  requests: shown('grantline_netfront_requests_total'),
  ...COST,
  /** Exceptions in the work of the vif: it was disabled. */
  exceptions: contained('netfront'),
});

/** One vif's transmit side in netfront, or the guest's (or native's) own NIC transmit queue. packets = answered + in flight;
 *  answered = sent + drops. Packets are as long as 64 KiB. Labels: vif. */
export const NETFRONT_TX_COUNTERS = counters('netfrontTx', 'vif', {
  packets: shown('grantline_netfront_frames_total', TX),
  slots: hidden('slots of packets: the rings show how full they are'),
  /** Responses that were OKAY. */
  sent: hidden('packets less those that were answered with an error'),
  /** Errors and dropped. */
  dropError: drop,
  ...COST,
});

/** The application that sends, and the device under it. Labels: vif. frames: as they will be on the cable; packets: as they
 *  are handed to the device. */
export const SENDER_COUNTERS = counters('sender', 'vif', {
  packets: hidden('the same packets as netfront is handed'),
  frames: hidden('the same frames as come out of the cable, but for drops'),
  bytes: hidden('the same bytes as come out of the cable, but for drops'),
  payloadBytes: hidden('a part of the bytes that come out of the cable'),
  copies: copies('application'),
  copiedBytes: copied('application'),
});

/** The network stack. inFrames = toSocket + drops. */
export const STACK_COUNTERS = counters('stack', {
  inFrames: shown('grantline_stack_frames_total'),
  toSocket: hidden('the same frames as grantline_delivered_frames_total'),
  /** What the socket was handed, after coalescing. */
  segments: shown('grantline_stack_segments_total'),
  coalesced: shown('grantline_stack_coalesced_frames_total'),
  dropNotMine: drop,
  dropBadHeader: drop,
  dropBadChecksum: drop,
  dropNoSocket: drop,
});

const faulty = named('grantline_faulty_frames_total', 'reason');
/** The receiving application. A frame counts in frames once its payload lies in the application's private memory. */
export const APP_COUNTERS = counters('app', {
  frames: shown('grantline_delivered_frames_total'),
  bytes: shown('grantline_delivered_bytes_total'),
  payloadBytes: both(shown('grantline_delivered_payload_bytes_total'), copied('application')),
  copies: copies('application'),
  corrupt: faulty,
  duplicate: faulty,
  reordered: faulty,
  missing: faulty,
  foreign: faulty,
});

const answer = (op: string): Entry => shown('grantline_responses_total', { op });
/** A request that is not answered is a dropped frame, too. */
const refused = both(named('grantline_responses_total', 'op'), drop);
/** The application that answers requests. requests = responses + drops + those that wait for the device. Labels: vif. */
export const RESPONDER_COUNTERS = counters('responder', {
  requests: answer('received'),
  responses: answer('answered'),
  responseBytes: hidden('the same bytes as the device sends'),
  copies: copies('application'),
  dropCorrupt: refused,
  dropNoDevice: refused,
  dropNoRoom: refused,
});

const answered = (op: string): Entry => shown('grantline_http_requests_total', { op });
/** The web application of a guest, by the answers it gave. Labels: vif. */
export const WEB_COUNTERS = counters('web', 'vif', {
  ok: answered('ok'),
  clientErrors: answered('client_error'),
  serverErrors: answered('server_error'),
});
