/** Attaching and detaching NIC queues: docs/wire/control-plane.md section 3. */
import { DOMID_NIC, type DomId } from '@grantline/base';
import { NETIF_NR_SLOTS_MIN } from '../abi/netif.js';
import { type HypervisorPort, HypervisorError, NotNow } from './hypervisor-port.js';

/** Arguments of nic.attach. */
export interface AttachArgs {
  /** Domain whose pages may be posted. */
  target: number;
  /** Pages of the queue, as numbers of the DMA table. */
  header: number;
  avail: number;
  comp: number;
  /** Port, allocated unbound for the NIC. */
  port: number;
  /** null: the default queue. */
  mac: string | null;
  vlan: number | null;
  moderationFrames: number;
  moderationUs: number;
  /** A transmit queue has no address; rx when not given. */
  direction?: 'rx' | 'tx';
  /** Longest TCP packet that the driver takes uncut, bytes; not given: frames only. */
  packetBytes?: number;
}

/** The NIC's interrupt moderation, as all drivers ask for it: a notification after so many frames, or so many microseconds. */
export const MODERATION = { moderationFrames: 64, moderationUs: 50 };

/** @param bufferBytes of each buffer @returns longest TCP packet that a driver with such takes uncut: over as many buffers as one may have */
export const longestPacket = (bufferBytes: number): number => Math.min(65535, NETIF_NR_SLOTS_MIN * bufferBytes);

type Requests = Pick<HypervisorPort, 'request'>;

/** Makes the port that the NIC rings. A domain may be there before the NIC is: services start in any order.
 *  @throws NotNow when there is no NIC; HypervisorError when the hypervisor refuses */
export async function allocNicChannel<C>(channels: { allocUnbound(remote: DomId): Promise<C> }): Promise<C> {
  try {
    return await channels.allocUnbound(DOMID_NIC);
  } catch (err) {
    if (isOneOf(err, 'ESRCH')) throw new NotNow('there is no NIC');
    throw err;
  }
}

/** Lets frames come. @returns the queue's number
 *  @throws NotNow when there is no NIC, or it does not answer; HypervisorError when it refuses */
export async function attachQueue(client: Requests, args: AttachArgs): Promise<number> {
  try {
    return (await client.request<{ queue: number }>('nic.attach', args)).queue;
  } catch (err) {
    if (isOneOf(err, 'ENODEV', 'ETIMEDOUT')) throw new NotNow((err as Error).message);
    throw err;
  }
}

/** Takes a queue off the NIC: when this resolves no transfer is under way and none will come. That also holds for a queue
 *  that is not there any more, because the NIC died, or the guest that it was for. */
export async function detachQueue(client: Requests, queue: number): Promise<void> {
  try {
    await client.request('nic.detach', { queue });
  } catch (err) {
    if (!isOneOf(err, 'ENOENT', 'ENODEV')) throw err;
  }
}

const isOneOf = (err: unknown, ...codes: string[]): boolean =>
  err instanceof HypervisorError && codes.includes(err.code);
