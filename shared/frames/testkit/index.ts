export { IP, MAC, flowSpec, frame, take, templates, ts, type Parts } from './frames-by-hand.js';
