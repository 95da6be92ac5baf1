export { memoryTap } from './memory-tap.js';
export { parsePage } from './metrics-page.js';
