/** A run in which guests send: tells the far end of the cable what comes, and starts and stops the senders. The only place
 *  that knows the form of POST /sink and /send. */
import { Rng } from '@grantline/base';
import { RunError } from '../base/errors.js';
import type { ServiceClient } from './client.js';
import { IMIX_WEIGHTS } from '@grantline/frames';

/** The station at the far end, as in what the generator sends. */
export const FAR_STATION = { mac: '02:00:00:ca:b1:e0', ip: '10.255.255.254' } as const;

/** Makes the far end of the cable ready. */
export const startSink = (
  nic: ServiceClient,
  body: { seed: number; frameSizes: readonly number[]; linkGbps: number | null },
): Promise<unknown> => nic.call('/sink', { method: 'POST', body });

/** @throws RunError when one of them cannot send */
export async function startSending(senders: readonly ServiceClient[]): Promise<void> {
  for (const s of senders) {
    const { sending } = await s.call<{ sending: boolean }>('/send', { method: 'POST', body: {} });
    if (!sending) throw new RunError(`${s.name} does not send`);
  }
}

export async function stopSending(senders: readonly ServiceClient[]): Promise<void> {
  await Promise.all(senders.map((s) => s.call('/send', { method: 'DELETE' })));
}

/** Indices of the sizes in the order of sending: one size, or the IMIX set by its weights, shuffled by the seed. */
export function sendOrder(sizes: readonly number[], seed: number): number[] {
  if (sizes.length === 1) return [0];
  const order = sizes.flatMap((_, i) => Array.from({ length: IMIX_WEIGHTS[i] ?? 1 }, () => i));
  const rng = new Rng(seed);
  for (let i = order.length - 1; i > 0; i--) {
    const j = rng.below(i + 1);
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}
