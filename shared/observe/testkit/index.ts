export { memoryProbe } from './memory-probe.js';
export { parsePage } from './metrics-page.js';
export { readCounterFile, readPackets, type Packet } from './read-back.js';
