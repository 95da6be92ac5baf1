/** Brings the packets of several hops into the order of their times. A packet goes out once every hop has said that nothing
 *  older will come from it; a hop that falls far behind is not waited for. */

interface Waiting {
  timeNs: number;
  block: Buffer;
}

/** Bytes kept at most. */
const HELD_MAX = 64 << 20;

export class Merger {
  private readonly queues: Waiting[][];
  private readonly heads: number[];
  /** Nothing older than this will come; Infinity when the hop has ended. */
  private readonly marks: number[];
  private readonly out: (hop: number, block: Buffer) => void;
  private held = 0;

  constructor(hops: number, out: (hop: number, block: Buffer) => void) {
    this.queues = Array.from({ length: hops }, () => []);
    this.heads = new Array<number>(hops).fill(0);
    this.marks = new Array<number>(hops).fill(-Infinity);
    this.out = out;
  }

  /** A packet of a hop, later than all its packets before. */
  push(hop: number, timeNs: number, block: Buffer): void {
    this.queues[hop].push({ timeNs, block });
    this.held += block.length;
  }

  /** All packets of the hop up to this time have been pushed. */
  mark(hop: number, timeNs: number): void {
    if (timeNs > this.marks[hop]) this.marks[hop] = timeNs;
  }

  /** Hands out what is due. @param all hand out everything */
  flush(all = false): void {
    const limit = all || this.held > HELD_MAX ? Infinity : Math.min(...this.marks);
    for (;;) {
      let first = -1;
      for (let i = 0; i < this.queues.length; i++) {
        const mine = this.queues[i][this.heads[i]];
        if (mine === undefined || mine.timeNs > limit) continue;
        if (first < 0 || mine.timeNs < this.queues[first][this.heads[first]].timeNs) first = i;
      }
      if (first < 0) break;
      const { block } = this.queues[first][this.heads[first]++];
      this.held -= block.length;
      this.out(first, block);
    }
    for (let i = 0; i < this.queues.length; i++) {
      if (this.heads[i] === 0) continue;
      this.queues[i] = this.queues[i].slice(this.heads[i]);
      this.heads[i] = 0;
    }
  }
}
