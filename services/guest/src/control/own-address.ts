/** The guest's own addresses, as the toolstack wrote them. */
import { type DomId, NETWORK_PREFIX } from '@grantline/base';
import { frontendPath, parseNumber, type XenstoreClient } from '@grantline/xen';

export interface OwnAddress {
  mac: string;
  ip: string;
  /** Length of the network's prefix. */
  prefix: number;
  /** null: there is none. */
  gateway: string | null;
}

/** @throws Error when the frontend directory lacks one of them */
export async function readOwnAddress(xenstore: Pick<XenstoreClient, 'read'>, domid: DomId): Promise<OwnAddress> {
  const front = frontendPath(domid, 0);
  const mac = await xenstore.read(`${front}/mac`);
  const ip = await xenstore.read(`${front}/ip`);
  if (mac === null || ip === null) throw new Error(`${front} has no ${mac === null ? 'mac' : 'ip'}`);
  const prefix = parseNumber(await xenstore.read(`${front}/prefix`));
  const gateway = await xenstore.read(`${front}/gateway`);
  return { mac, ip, prefix: prefix === null || prefix > 32 ? NETWORK_PREFIX : prefix, gateway };
}
