/** Work for domains that must not be mixed up: what is done for one domain is done in the order in which it came, and nobody waits for
 *  what is done for another. */

interface Lane {
  /** The last work for the domain itself. */
  own: Promise<void>;
  /** Work for others that needs the domain to stay as it is. */
  uses: Promise<unknown>;
}

export class Lanes {
  private readonly lanes = new Map<number, Lane>();
  private readonly failed: (err: unknown) => void;

  /** @param failed told of work that threw; what comes behind it goes on */
  constructor(failed: (err: unknown) => void) {
    this.failed = failed;
  }

  /** Does it once all that came before for `domid` is done, and all that came before for `used` itself.
   *  @param used another domain that it needs: what comes later for that one waits for this */
  do(domid: number, job: () => Promise<void> | void, used = domid): void {
    const lane = this.of(domid);
    const other = this.of(used);
    const before = other === lane ? [lane.own, lane.uses] : [lane.own, lane.uses, other.own];
    const done = Promise.all(before).then(job).catch(this.failed);
    lane.own = done;
    if (other !== lane) other.uses = Promise.all([other.uses, done]);
  }

  /** Resolves when all that has come so far is done. */
  async settled(): Promise<void> {
    await Promise.all([...this.lanes.values()].map((lane) => lane.own));
  }

  private of(domid: number): Lane {
    let lane = this.lanes.get(domid);
    if (lane === undefined) this.lanes.set(domid, (lane = { own: Promise.resolve(), uses: Promise.resolve() }));
    return lane;
  }
}
