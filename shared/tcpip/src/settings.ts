/** Settings of a stack. Times in milliseconds, sizes in bytes. */

export interface NetSettings {
  /** Longest IP packet on the wire. */
  mtu: number;
  /** Longest IP packet given to the link, which segments it; 0: no segmentation offload, packets of MTU size. */
  gso: number;
  /** The link fills in transport checksums. */
  txChecksum: boolean;
  /** Believe the link's verdict on received checksums; false: always verify. */
  rxChecksum: boolean;
  /** Memory of all socket buffers; connections take and return parts of it. */
  memory: number;
  /** Most that one connection keeps of sent and of received data; powers of two. */
  sendBuffer: number;
  receiveBuffer: number;
  /** Connections of all kinds, TIME-WAIT apart. One peer opens two thirds of them at most. */
  maxConnections: number;
  maxTimeWait: number;
  /** How long TIME-WAIT lasts, 2*MSL. RFC 9293 takes MSL as two minutes, a guess for the Internet; a frame does not live
   *  longer than a fraction of a second between two ends of a testbed's cable. */
  timeWaitMs: number;
  /** How long FIN-WAIT-2 lasts after the application closed. */
  finWait2Ms: number;
  /** How long a connection may wait for a window that stays closed (RFC 6429); after the application closed: orphanMs. */
  persistTimeoutMs: number;
  orphanMs: number;
  rtoInitialMs: number;
  /** RFC 6298 says a second; Linux and others take 200 ms, because delayed acknowledgements are below it. */
  rtoMinMs: number;
  rtoMaxMs: number;
  /** Retransmissions without an answer before the connection is given up: data, and SYN. */
  retries: number;
  synRetries: number;
  delayedAckMs: number;
  /** Keep-alive, where a socket switches it on: first probe after, then every, and so many. */
  keepIdleMs: number;
  keepIntervalMs: number;
  keepProbes: number;
  timestamps: boolean;
  windowScale: boolean;
  sack: boolean;
  /** Ports for connections from here. */
  ephemeralFirst: number;
  ephemeralLast: number;
  arpEntries: number;
  /** An address is used so long before it is asked for again, while it is used; and forgotten after three times that. */
  arpStaleMs: number;
  /** Packets that wait for addresses, all together. */
  arpQueue: number;
  /** Time for all fragments of a datagram to come. */
  reassemblyMs: number;
  /** Answers per second to each peer: echo replies; ICMP errors, and resets. */
  echoPerSecond: number;
  errorsPerSecond: number;
}

export const NET_DEFAULTS: Readonly<NetSettings> = {
  mtu: 1500,
  gso: 65535,
  txChecksum: true,
  rxChecksum: true,
  memory: 64 << 20,
  sendBuffer: 1 << 20,
  receiveBuffer: 1 << 20,
  maxConnections: 16384,
  maxTimeWait: 16384,
  timeWaitMs: 2000,
  finWait2Ms: 10_000,
  persistTimeoutMs: 300_000,
  orphanMs: 30_000,
  rtoInitialMs: 1000,
  rtoMinMs: 200,
  rtoMaxMs: 60_000,
  retries: 10,
  synRetries: 5,
  delayedAckMs: 40,
  keepIdleMs: 7_200_000,
  keepIntervalMs: 75_000,
  keepProbes: 9,
  timestamps: true,
  windowScale: true,
  sack: true,
  ephemeralFirst: 32768,
  ephemeralLast: 60999,
  arpEntries: 512,
  arpStaleMs: 60_000,
  arpQueue: 32,
  reassemblyMs: 15_000,
  echoPerSecond: 10_000,
  errorsPerSecond: 1000,
};

/** @throws RangeError that names the setting which makes no sense */
export function netSettings(given: Partial<NetSettings> = {}): NetSettings {
  const s = { ...NET_DEFAULTS, ...given };
  const check = (name: keyof NetSettings, ok: boolean): void => {
    if (!ok) throw new RangeError(`${name} ${s[name]} is out of range`);
  };
  const pow2 = (n: number): boolean => Number.isInteger(n) && n > 0 && (n & (n - 1)) === 0;
  check('mtu', s.mtu >= 576 && s.mtu <= 65535);
  check('gso', s.gso === 0 || (s.gso >= s.mtu && s.gso <= 65535));
  check('memory', pow2(s.memory) && s.memory >= 1 << 20 && s.memory <= 1 << 30);
  check('sendBuffer', pow2(s.sendBuffer) && s.sendBuffer >= 4096 && s.sendBuffer <= s.memory);
  check('receiveBuffer', pow2(s.receiveBuffer) && s.receiveBuffer >= 4096 && s.receiveBuffer <= s.memory);
  check('maxConnections', s.maxConnections >= 1);
  check('rtoMinMs', s.rtoMinMs >= 1 && s.rtoMinMs <= s.rtoMaxMs);
  check('ephemeralFirst', s.ephemeralFirst >= 1024 && s.ephemeralFirst <= s.ephemeralLast);
  check('ephemeralLast', s.ephemeralLast <= 65535);
  return s;
}
