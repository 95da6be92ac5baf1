/** Requests that are out: who they are and since when. Few enough (RequestPlan.inFlight) to be looked through. */

/** Requests that timed out and are remembered: a late answer is told from one that was never asked for. */
const REMEMBERED = 1024;

export class InFlight {
  count = 0;
  private readonly flows: Int32Array;
  private readonly sequences: Int32Array;
  private readonly times: Float64Array;
  private readonly goneFlows = new Int32Array(REMEMBERED).fill(-1);
  private readonly goneSequences = new Int32Array(REMEMBERED);
  private gone = 0;
  /** No request is older than this. */
  private oldestNs = Infinity;

  /** @param most requests at once */
  constructor(most: number) {
    this.flows = new Int32Array(most);
    this.sequences = new Int32Array(most);
    this.times = new Float64Array(most);
  }

  /** A request goes out; the caller knows that there is room. */
  add(flow: number, sequence: number, timeNs: number): void {
    const i = this.count++;
    this.flows[i] = flow;
    this.sequences[i] = sequence;
    this.times[i] = timeNs;
    if (timeNs < this.oldestNs) this.oldestNs = timeNs;
  }

  /** An answer came. @returns when its request went out; -1 when it is not out */
  take(flow: number, sequence: number): number {
    for (let i = 0; i < this.count; i++) {
      if (this.sequences[i] !== sequence || this.flows[i] !== flow) continue;
      const time = this.times[i];
      this.remove(i);
      return time;
    }
    return -1;
  }

  /** @returns true when that request timed out not long ago; it is forgotten then */
  wasGone(flow: number, sequence: number): boolean {
    for (let i = 0; i < REMEMBERED; i++) {
      if (this.goneFlows[i] !== flow || this.goneSequences[i] !== sequence) continue;
      this.goneFlows[i] = -1;
      return true;
    }
    return false;
  }

  /** When the oldest request will be so old, or earlier; Infinity when none is out. */
  dueNs(ageNs: number): number {
    return this.count === 0 ? Infinity : this.oldestNs + ageNs;
  }

  /** Gives up what went out before a time. @returns how many requests that was */
  expire(beforeNs: number): number {
    if (this.count === 0 || this.oldestNs > beforeNs) return 0;
    let n = 0;
    let oldest = Infinity;
    for (let i = this.count - 1; i >= 0; i--) {
      const time = this.times[i];
      if (time > beforeNs) {
        if (time < oldest) oldest = time;
        continue;
      }
      this.goneFlows[this.gone] = this.flows[i]!;
      this.goneSequences[this.gone] = this.sequences[i]!;
      this.gone = this.gone + 1 === REMEMBERED ? 0 : this.gone + 1;
      this.remove(i);
      n++;
    }
    this.oldestNs = oldest;
    return n;
  }

  private remove(i: number): void {
    const last = --this.count;
    this.flows[i] = this.flows[last]!;
    this.sequences[i] = this.sequences[last]!;
    this.times[i] = this.times[last]!;
    if (last === 0) this.oldestNs = Infinity;
  }
}
