/** The frames that a guest's application kept in a run of mode `record`. */
import { parseCapture } from '@grantline/shared/capture/read-capture.js';
import { RunError } from '../cli/errors.js';
import type { ServiceAddress } from './client.js';
import { call, callBytes } from './http.js';
import { FrameBag } from './replay-expected.js';

interface Summary {
  frames: number;
  bytes: number;
  /** Frames that there was no room for. */
  notKept: number;
}

/** @throws RunError when the guest had no room for all */
export async function recordedBy(guest: ServiceAddress): Promise<FrameBag> {
  const summary = await call<Summary>(guest.name, guest.http, '/recorded/summary', { timeoutMs: 60_000 });
  if (summary.notKept > 0)
    throw new RunError(`${guest.name} had no room to keep ${summary.notKept} frames: replay fewer loops`);
  const bag = new FrameBag();
  const capture = parseCapture(await callBytes(guest.name, guest.http, '/recorded', { timeoutMs: 60_000 }));
  for (let i = 0; i < capture.count; i++)
    bag.add(capture.bytes.subarray(capture.offsets[i], capture.offsets[i] + capture.lengths[i]));
  return bag;
}
