/** Starts the guest (guest.ts), with a small heap.
 *
 *  The young generation would grow to 16 MiB a half while modules load, and stay there: 15 MB of each guest for nothing,
 *  since the data path allocates nothing and control is little. So its growth is switched off first, and only then is
 *  the rest imported. Measured after the start: 103 MB resident without, 88 MB with it.
 *
 *  Old objects are marked in one go. Bodies are 64 KiB buffers outside of V8's heap, of which V8 begins to mark in steps every few
 *  dozen megabytes, and then each new buffer is charged a step: an upload cost up to twice the CPU time (docs/adr/0026). */
import { setFlagsFromString } from 'node:v8';
import { runMain } from '@grantline/service';

setFlagsFromString('--semi-space-growth-factor=1');
setFlagsFromString('--no-incremental-marking');

await runMain('guest', async () => {
  const { runGuest } = await import('./guest.js');
  await runGuest();
});
