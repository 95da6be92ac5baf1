/** The server serves uPlot's own ES module under this name (load/src/live/server.ts): no bundler, no import map. */
export { default } from 'uplot';
