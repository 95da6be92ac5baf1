/** States of a connection. Source: RFC 9293, 3.3.2. LISTEN is a state of listeners (table.ts), not of connections. */
export const CLOSED = 0;
export const SYN_SENT = 2;
export const SYN_RECEIVED = 3;
export const ESTABLISHED = 4;
export const FIN_WAIT_1 = 5;
export const FIN_WAIT_2 = 6;
export const CLOSE_WAIT = 7;
export const CLOSING = 8;
export const LAST_ACK = 9;
export const TIME_WAIT = 10;

/** Names by number, as the RFC spells them. */
export const STATE_NAMES = [
  'CLOSED',
  'LISTEN',
  'SYN-SENT',
  'SYN-RECEIVED',
  'ESTABLISHED',
  'FIN-WAIT-1',
  'FIN-WAIT-2',
  'CLOSE-WAIT',
  'CLOSING',
  'LAST-ACK',
  'TIME-WAIT',
] as const;

/** Loss recovery: nothing lost; fast recovery (RFC 6582, 6675); after a time-out (RFC 5681, 3.1). */
export const CA_OPEN = 0;
export const CA_RECOVERY = 1;
export const CA_LOSS = 2;

/** What an application is told about, as bits; in this order when several are due. */
export const EV_OPEN = 1;
export const EV_READABLE = 2;
export const EV_END = 4;
export const EV_WRITABLE = 8;
export const EV_CLOSE = 16;

/** Why a connection ended. 0: in order. The names are Node's. */
export const ERR_NONE = 0;
export const ERR_RESET = 1;
export const ERR_REFUSED = 2;
export const ERR_TIMEDOUT = 3;
export const ERR_UNREACHABLE = 4;
export const ERR_ABORTED = 5;
export const ERROR_CODES = ['', 'ECONNRESET', 'ECONNREFUSED', 'ETIMEDOUT', 'EHOSTUNREACH', 'ECONNABORTED'] as const;
