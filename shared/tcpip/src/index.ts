/** A TCP/IP stack that is driven: make a NetStack over a NetLink, give it what arrives, poll it. README.md has an example. */
export { BulkApp, bulkMemory, serveBulk, type AppCounters, type BulkMemory } from './apps/bulk.js';
export { NET_COUNTERS, TCP_APP_COUNTERS } from './counters.js';
export { type HostAddress, RX_CHECKSUM_BLANK, type NetLink } from './host.js';
export { NetStack } from './net-stack.js';
export type { NetSettings } from './settings.js';
export { accept } from './socket/net-socket.js';
export { Secret } from './storage/keyed-hash.js';
export { Connection } from './tcp/connection.js';
export { ERR_NONE, type ConnectionEvents } from './tcp/tcb.js';
