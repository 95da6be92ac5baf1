/** Whose turn it is: guests one after the other, each with a train of frames of one of its flows. A guest that cannot
 *  take its frame is passed over for the rest of a poll. */

/** Frames of one flow in a row. */
const TRAIN_FRAMES = 32;

export class GuestTurns {
  readonly guests: number;
  /** Whose turn it is, and the flow of its train. */
  guest: number;
  flow = 0;
  /** Frames that the train has still to bring. */
  trainLeft = 0;
  /** Guests passed over in this poll; for each whether, and the queue that had no room. */
  blockedCount = 0;
  readonly blocked: Uint8Array;
  readonly blockedOn: Int16Array;
  private readonly flowsPerGuest: number;
  private readonly flowTurn: Uint32Array;

  /** @param flowsPerGuest flow g * flowsPerGuest + k is guest g's */
  constructor(guests: number, flowsPerGuest: number) {
    this.guests = guests;
    this.flowsPerGuest = flowsPerGuest;
    this.guest = guests - 1;
    this.blocked = new Uint8Array(guests);
    this.blockedOn = new Int16Array(guests);
    this.flowTurn = new Uint32Array(guests);
  }

  /** A new poll: nobody is passed over. */
  begin(): void {
    this.blockedCount = 0;
    for (let g = 0; g < this.guests; g++) this.blocked[g] = 0;
  }

  /** @returns true when there is a guest to send to */
  select(): boolean {
    return this.trainLeft > 0 || this.nextTrain();
  }

  /** The guest gets nothing more in this poll. @param queue the one that has no room for it */
  pass(queue: number): void {
    this.blocked[this.guest] = 1;
    this.blockedOn[this.guest] = queue;
    this.blockedCount++;
    this.trainLeft = 0;
  }

  /** @returns true when all guests were passed over */
  get allBlocked(): boolean {
    return this.blockedCount === this.guests;
  }

  private nextTrain(): boolean {
    let g = this.guest;
    for (let i = 0; i < this.guests; i++) {
      g = g + 1 === this.guests ? 0 : g + 1;
      if (this.blocked[g] !== 0) continue;
      const turn = this.flowTurn[g];
      this.flowTurn[g] = turn + 1 === this.flowsPerGuest ? 0 : turn + 1;
      this.guest = g;
      this.flow = g * this.flowsPerGuest + turn;
      this.trainLeft = TRAIN_FRAMES;
      return true;
    }
    return false;
  }
}
