/** Where the guests' applications are reached: GET /edge of the NIC. */
import { WEB_PORT } from '@grantline/base';
import { RunError } from '../base/errors.js';
import type { ServiceClient } from '../control/client.js';
import { edgeDoors, type EdgeDoor } from '../control/edge.js';
import type { Bed } from '../runner/bed.js';

/** The web doors of all guests, as addresses that are good from here; null: it does not listen. */
export async function webDoors(nic: ServiceClient): Promise<(EdgeDoor & { url: string | null })[]> {
  const doors = (await edgeDoors(nic)).filter((door) => door.port === WEB_PORT);
  return doors.map((door) => ({ ...door, url: door.address === null ? null : urlOf(door.address, nic.http) }));
}

/** "Any address" is none that could be connected to: it is then the NIC's own. */
export function urlOf(address: string, nicHttp: string): string {
  const url = new URL(`http://${address}`);
  if (url.hostname === '0.0.0.0' || url.hostname === '[::]') url.hostname = new URL(nicHttp).hostname;
  return url.origin;
}

/** Of the guests that take part, in their order. @throws RunError when one has none */
export async function edgesOf(bed: Bed): Promise<string[]> {
  const doors = await webDoors(bed.nic);
  return bed.guests.map(({ domid, name }) => {
    const url = doors.find((d) => d.domid === domid)?.url;
    if (url === undefined || url === null)
      throw new RunError(
        `${name} cannot be reached: the far end of the cable has no edge for it (GRANTLINE_FAR_END, GRANTLINE_EDGE)`,
      );
    return url;
  });
}
