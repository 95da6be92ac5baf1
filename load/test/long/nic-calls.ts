/** What tests ask of the nic beside what the command does. */
import type { ServiceClient } from '../../src/control/client.js';
import type { EdgeDoor } from '../../src/control/load-api.js';

/** Opens a way to another port of a guest's. */
export const openDoor = (nic: ServiceClient, domid: number, port: number): Promise<EdgeDoor> =>
  nic.call('/edge', { method: 'POST', body: { domid, port } });

/** One ICMP echo from the outer stack. @returns microseconds; null: no right answer */
export async function ping(nic: ServiceClient, ip: string, bytes: number, timeoutMs: number): Promise<number | null> {
  const body = { ip, bytes, timeoutMs };
  return (await nic.call<{ us: number | null }>('/ping', { method: 'POST', body, timeoutMs: timeoutMs + 5000 })).us;
}
