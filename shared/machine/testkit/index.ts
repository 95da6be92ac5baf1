export { Bell, anew, refuse, testDir, until } from './handles.js';
export { TestSpace, block } from './test-space.js';
