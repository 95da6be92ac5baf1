/** What makes a run's figures doubtful. Runs are never dropped for it: the notes stand in the record and under the
 *  table. Pure. Source: the void rules of docs/measuring.md. */
import { lineRate } from './frame-sizes.js';

export interface RunConditions {
  /** Share of all cores' time that the host gave to others. */
  stealShare: number;
  linkGbps: number | null;
  frameBytes: number;
  offeredFramesPerSecond: number;
  /** Share of the measured time that flow control held the sender. */
  pausedShare: number;
  flowControl: boolean;
  /** rx when not given. */
  direction?: 'rx' | 'tx' | 'guest-to-guest' | 'rr';
  /** CPU seconds per second of the NIC process, generator included. */
  nicCpuShare: number;
  wantedSeconds: number;
  measuredSeconds: number;
  corrupt: number;
  duplicate: number;
}

export const STEAL_LIMIT = 0.02;
const PACE_TOLERANCE = 0.001;
const TIMING_TOLERANCE = 0.05;

const percent = (x: number): string => `${(x * 100).toFixed(1)} %`;

/** @returns one sentence for each condition that casts doubt on the figures */
export function voidRules(r: RunConditions): string[] {
  const notes: string[] = [];
  if (r.stealShare > STEAL_LIMIT)
    notes.push(`the machine was taken away for ${percent(r.stealShare)} of the time (steal)`);
  if (r.linkGbps !== null && (r.direction ?? 'rx') === 'rx') {
    const wanted = lineRate(r.linkGbps, r.frameBytes);
    const share = r.offeredFramesPerSecond / wanted;
    if (share < 1 - PACE_TOLERANCE) {
      const held =
        r.pausedShare > PACE_TOLERANCE ? `; flow control held it for ${percent(r.pausedShare)} of the time` : '';
      notes.push(`the generator sent ${percent(share)} of the link's rate${held}`);
    }
  }
  if (r.direction === 'rr') {
    if (r.offeredFramesPerSecond === 0) notes.push('nothing was asked');
  } else if (r.direction === 'tx' || r.direction === 'guest-to-guest') {
    // The far end shares the NIC's core: full, it is what the guests wait for.
    if (r.offeredFramesPerSecond === 0) notes.push('the guests sent nothing');
    else if (r.direction === 'tx' && r.nicCpuShare > 0.97 && r.linkGbps === null)
      notes.push(
        'the far end of the cable was the bottleneck: the core of the NIC, which verifies each frame, was full',
      );
  } else if (r.offeredFramesPerSecond === 0) notes.push('the generator sent nothing');
  else if (r.nicCpuShare > 0.97 && r.pausedShare < 0.01 && r.linkGbps === null && r.flowControl) {
    notes.push('the generator was the bottleneck: its core was full and flow control did not hold it');
  }
  if (Math.abs(r.measuredSeconds / r.wantedSeconds - 1) > TIMING_TOLERANCE) {
    notes.push(`measured ${r.measuredSeconds.toFixed(2)} s instead of ${r.wantedSeconds} s`);
  }
  if (r.corrupt > 0) notes.push(`${r.corrupt} frames arrived corrupt`);
  if (r.duplicate > 0) notes.push(`${r.duplicate} frames arrived twice`);
  return notes;
}
