/** What ties a frontend's keys to the InitWait that they answer. docs/wire/xenstore-paths.md section 3.
 *
 *  netback writes `offer` together with InitWait; netfront gives the same text back as `offer-ack` together with its keys
 *  and Connected. Keys with another offer are an answer to what is over: of an earlier generation, or to an earlier
 *  backend. netback does not look at them, so it never uses what netfront is about to take back. */
import { parseNumber, type XenstoreClient } from '../hypervisor/xenstore-client.js';

/** Keys of the backend's and of the frontend's directory. */
export const OFFER = 'offer';
export const OFFER_ACK = 'offer-ack';

/** What the two state machines need of xenstore. */
export type XenbusStore = Pick<XenstoreClient, 'read' | 'write' | 'transaction'>;

/** @param number another one for each offer of the vif, also of a driver domain that follows a dead one */
export const makeOffer = (generation: number, number: number): string => `${generation}.${number}`;

/** @returns the generation whose factors are offered; null when the text is no offer */
export function offerGeneration(offer: string | null): number | null {
  return offer === null ? null : parseNumber(offer.split('.', 1)[0]);
}

export const messageOf = (err: unknown): string => (err instanceof Error ? err.message : String(err));
