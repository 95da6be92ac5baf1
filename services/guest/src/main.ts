/** Starts the guest (guest.ts), with a small heap. */
import './small-heap.js';
import { runMain } from '@grantline/service';
import { runGuest } from './guest.js';

void runMain('guest', runGuest);
