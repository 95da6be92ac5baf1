// npm run bench: the speed list of docs/measuring.md, medians of interleaved runs, against what is asked for.
import { setup } from './setup.mjs';

setup();
await import('../load/dist/src/bench/main.js');
