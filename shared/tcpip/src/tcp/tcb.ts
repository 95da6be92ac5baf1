/** One connection's state: the transmission control block (RFC 9293, 3.3.1). Plain fields; what moves them is elsewhere.
 *  Sequence numbers and addresses are signed 32-bit (seq.ts); times are the stack's milliseconds, 0 for "not running". */
import type { Host } from '../host.js';
import type { Arp, AddressWaiter, Neighbor } from '../ip/arp.js';
import type { IpOut } from '../ip/ipv4.js';
import type { Limiter } from '../ip/icmp.js';
import type { Arena, ByteRing } from '../storage/byte-ring.js';
import type { Ranges } from './seq.js';
import { Timed } from '../storage/timer-heap.js';

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

/** What an application is told; see Connection for when. */
export interface ConnectionEvents {
  onOpen(): void;
  onReadable(): void;
  /** The peer has sent its last byte, and all has been read or will be found by read. */
  onEnd(): void;
  onWritable(): void;
  /** @param error one of ERR_* */
  onClose(error: number): void;
}

/** Somebody who waits for connections to a port. */
export interface Listener {
  readonly port: number;
  /** Most connections in SYN-RECEIVED; further ones are answered by cookies. */
  readonly backlog: number;
  readonly halfOpen: Set<Tcb>;
  /** A connection is established. @returns who takes it, or null: it is reset */
  accept(tcb: Tcb): ConnectionEvents | null;
}

/** The connections by address and port, as those who work on one see them: TcpTable (table.ts), where each is explained. */
export interface ConnectionTable {
  readonly listeners: ReadonlyMap<number, Listener>;
  readonly timeWait: ReadonlySet<Tcb>;
  readonly active: number;
  readonly halfOpen: number;
  find(localIp: number, localPort: number, remoteIp: number, remotePort: number): Tcb | null;
  insert(tcb: Tcb): void;
  insertHalfOpen(tcb: Tcb, listener: Listener): void;
  noLongerHalfOpen(tcb: Tcb): void;
  rests(tcb: Tcb): void;
  remove(tcb: Tcb): void;
  hasRoomHalfOpen(listener: Listener): boolean;
  isFull(remoteIp: number): boolean;
}

/** What all connections of a stack share, as those who work on one see it: TcpContext (context.ts), where each is explained. */
export interface TcpShared {
  readonly host: Host;
  readonly arp: Arp;
  readonly out: IpOut;
  readonly resets: Limiter;
  readonly memory: { readonly arena: Arena; room(ring: ByteRing, from: number, more: number): number };
  readonly table: ConnectionTable;
  cookiesUntilMs: number;
  create(localPort: number, remoteIp: number, remotePort: number): Tcb;
  isn(localIp: number, localPort: number, remoteIp: number, remotePort: number): number;
  tsOffset(remoteIp: number): number;
  onTimer(tcb: Tcb): void;
  onAddress(tcb: Tcb, known: boolean): void;
  markDirty(tcb: Tcb): void;
  tell(tcb: Tcb, bits: number): void;
  kick(): void;
  wake(tcb: Tcb, atMs: number): void;
}

export class Tcb extends Timed implements AddressWaiter {
  readonly tcp: TcpShared;
  state = CLOSED;
  error = ERR_NONE;
  /** Who is told; null once the application has let go. */
  events: ConnectionEvents | null = null;
  /** The listener that it came by, until it is established. */
  listener: Listener | null = null;

  readonly localIp: number;
  readonly localPort: number;
  readonly remoteIp: number;
  readonly remotePort: number;
  readonly hash: number;
  hashNext: Tcb | null = null;
  inTable = false;

  // Send sequence space. sndMax: highest ever sent, for judging acknowledgements; sndNxt goes back behind a window probe.
  iss = 0;
  sndUna = 0;
  sndNxt = 0;
  sndMax = 0;
  sndWnd = 0;
  sndWl1 = 0;
  sndWl2 = 0;
  maxSndWnd = 0;
  sndScale = 0;
  finQueued = false;

  // Receive sequence space. rcvAdv: right edge of the window as told; rcvWup: rcvNxt as told last.
  irs = 0;
  rcvNxt = 0;
  rcvAdv = 0;
  rcvWup = 0;
  rcvScale = 0;
  /** Sequence number of a FIN that came before its time. */
  rcvFin = 0;
  rcvFinSeen = false;
  /** All has been received, FIN included. */
  rcvDone = false;

  /** Payload of a full segment, options taken off. */
  mss = 536;
  /** What the peer sends as full segments, for delayed acknowledgements. */
  rcvMss = 536;
  tsOk = false;
  sackOk = false;
  scaleOk = false;
  tsOffset = 0;
  tsRecent = 0;
  tsRecentMs = 0;

  // Round-trip time in microseconds, times 8 and 4 (RFC 6298 with Jacobson's scaling); 0: no sample yet.
  srtt8 = 0;
  rttvar4 = 0;
  rtoMs = 0;
  timing = false;
  rttSeq = 0;
  rttUs = 0;

  // Congestion control.
  cwnd = 0;
  ssthresh = 0x7fffffff;
  caState = CA_OPEN;
  cwndLimited = false;
  /** Bytes acknowledged towards the next increase of cwnd. */
  caAcked = 0;
  recover = 0;
  /** Up to here holes have been retransmitted in this recovery. */
  highRxt = 0;
  dupAcks = 0;
  /** Without SACK: bytes that duplicate acknowledgements say have arrived. */
  dupBytes = 0;
  forceRetransmit = false;
  /** What the peer has beyond sndUna; null until it says so. */
  scoreboard: Ranges | null = null;
  lastSentMs = 0;
  lastHeardMs = 0;

  readonly tx: ByteRing;
  readonly rx: ByteRing;
  /** What lies in rx beyond rcvNxt; null until something does. */
  gaps: Ranges | null = null;
  /** Where the latest of it begins: reported first (RFC 2018, 4). */
  lastGap = 0;

  // Wishes of the application, and its limits.
  noDelay = false;
  wantWrite = false;
  keepAlive = false;
  keepIdleMs: number;

  // Owed to the peer.
  synDue = false;
  /** A probe of the window is due: one byte, or what fits, goes out whatever the rules say. */
  probeDue = false;
  ackNow = false;
  /** A keep-alive probe is due. */
  keepDue = false;

  // Timers. rtxMs: retransmission, or window probe when `persist`.
  rtxMs = 0;
  persist = false;
  persistSinceMs = 0;
  ackMs = 0;
  keepMs = 0;
  keepTries = 0;
  /** End of TIME-WAIT or of an orphan's FIN-WAIT-2. */
  lifeMs = 0;
  /** Try again to get memory. */
  memMs = 0;
  /** Retransmissions, or probes, since something was last heard. */
  tries = 0;
  // While memory is short (shared-memory.ts): since when watched, 0: not, and what was acknowledged, received, held then.
  watchedMs = 0;
  watchedUna = 0;
  watchedNxt = 0;
  watchedBytes = 0;
  /** When a challenge was last answered, and how many then. */
  challengeMs = -1e9;
  challenges = 0;

  neighbor: Neighbor | null = null;
  waitsForAddress = false;

  // Membership in the context's lists.
  eventBits = 0;
  eventNext: Tcb | null = null;
  dirty = false;
  dirtyNext: Tcb | null = null;

  constructor(
    tcp: TcpShared,
    localIp: number,
    localPort: number,
    remoteIp: number,
    remotePort: number,
    hash: number,
    tx: ByteRing,
    rx: ByteRing,
  ) {
    super();
    this.tcp = tcp;
    this.localIp = localIp;
    this.localPort = localPort;
    this.remoteIp = remoteIp;
    this.remotePort = remotePort;
    this.hash = hash;
    this.tx = tx;
    this.rx = rx;
    this.keepIdleMs = tcp.host.set.keepIdleMs;
    this.rtoMs = tcp.host.set.rtoInitialMs;
  }

  override expire(): void {
    this.tcp.onTimer(this);
  }

  addressDone(known: boolean): void {
    this.waitsForAddress = false;
    this.tcp.onAddress(this, known);
  }
}
