// npm start: from a fresh clone to the table. Installs and builds what is needed, then compares.
import { setup } from './setup.mjs';

setup();
// In this process, so that signals reach the command directly.
process.argv.splice(2, 0, 'compare');
await import('../load/bin/grantline.mjs');
