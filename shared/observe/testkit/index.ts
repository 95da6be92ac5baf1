export { memoryProbe } from './memory-probe.js';
export { parsePage } from './metrics-page.js';
