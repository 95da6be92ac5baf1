export { IP, MAC, flowSpec, frame, take, templates, ts, writeStamp, type Parts } from './frames-by-hand.js';
