/** The shared rings of a connected vif, for metrics: how large they are and how many requests wait. */
import type { BackRing } from '@grantline/xen';
import type { Reading } from '@grantline/observe';

const QUEUES = ['nic', 'bridge'] as const;
const DIRECTIONS = ['tx', 'rx'] as const;
type Place = `${(typeof QUEUES)[number]} ${(typeof DIRECTIONS)[number]}`;

export class VifRings {
  private readonly rings = new Map<Place, BackRing>();

  /** From now on the ring is read when somebody asks. */
  add(queue: (typeof QUEUES)[number], direction: (typeof DIRECTIONS)[number], ring: BackRing): void {
    this.rings.set(`${queue} ${direction}`, ring);
  }

  /** To be called before a ring's page is unmapped. */
  clear(): void {
    this.rings.clear();
  }

  /** Requests of a ring that have no response yet; 0 where there is no such ring. */
  waiting(place: Place): number {
    const ring = this.rings.get(place);
    if (ring === undefined) return 0;
    const { reqProd, rspProdPvt } = ring.describe();
    const n = (reqProd - rspProdPvt) >>> 0;
    // The guest may write any index; what cannot be is not shown.
    return n > ring.size ? 0 : n;
  }

  size(place: Place): number {
    return this.rings.get(place)?.size ?? 0;
  }
}

/** Every ring that a vif can have, with 0 for those that it has not.
 *  @param rings null: the vif is not connected */
export function ringReadings(vif: string, rings: VifRings | null): Reading[] {
  return QUEUES.flatMap((queue) =>
    DIRECTIONS.flatMap((direction): Reading[] => {
      const labels = { vif, queue, direction };
      const place: Place = `${queue} ${direction}`;
      return [
        { family: 'grantline_ring_slots', labels, value: rings?.size(place) ?? 0 },
        { family: 'grantline_ring_slots_used', labels, value: rings?.waiting(place) ?? 0 },
      ];
    }),
  );
}
