/** The frames that a guest's application kept in a run of mode `record`. */
import { UPLOAD_BYTES, parseCapture } from '@grantline/observe';
import { RunError } from '../base/errors.js';
import type { ServiceClient } from '../control/client.js';
import { FrameBag } from './replay-expected.js';

interface Summary {
  frames: number;
  bytes: number;
  /** Frames that there was no room for. */
  notKept: number;
}

/** @throws RunError when the guest had no room for all */
export async function recordedBy(guest: ServiceClient): Promise<FrameBag> {
  const summary = await guest.call<Summary>('/recorded/summary', { timeoutMs: 60_000 });
  if (summary.notKept > 0)
    throw new RunError(`${guest.name} had no room to keep ${summary.notKept} frames: replay fewer loops`);
  const bag = new FrameBag();
  const capture = parseCapture(await guest.callBytes('/recorded', { timeoutMs: 60_000, maxBytes: UPLOAD_BYTES }));
  for (let i = 0; i < capture.count; i++)
    bag.add(capture.bytes.subarray(capture.offsets[i], capture.offsets[i] + capture.lengths[i]));
  return bag;
}
