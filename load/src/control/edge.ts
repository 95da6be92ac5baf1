/** Where guests are reached by TCP from the host: the doors of the edge, in the nic. The only place that knows the form of
 *  GET and POST /edge, /ping and /streams. */
import type { ServiceClient } from './client.js';

export interface EdgeDoor {
  domid: number;
  ip: string;
  /** The guest's. */
  port: number;
  /** host:port; null while it does not listen. */
  address: string | null;
  connections: number;
}

/** All doors; the web application's have port 80. None where no TCP/IP stack stands at the far end. */
export const edgeDoors = (nic: ServiceClient): Promise<EdgeDoor[]> => nic.call('/edge');

/** Opens a way to another port of a guest's. */
export const openDoor = (nic: ServiceClient, domid: number, port: number): Promise<EdgeDoor> =>
  nic.call('/edge', { method: 'POST', body: { domid, port } });

/** One ICMP echo from the outer stack. @returns microseconds; null: no right answer */
export async function ping(nic: ServiceClient, ip: string, bytes = 56, timeoutMs = 2000): Promise<number | null> {
  const { us } = await nic.call<{ us: number | null }>('/ping', {
    method: 'POST',
    body: { ip, bytes, timeoutMs },
    timeoutMs: timeoutMs + 5000,
  });
  return us;
}

export interface StreamStatus {
  streams: number;
  open: number;
}

/** TCP streams between the outer stack and guests, as the guests see the direction. */
export const startStreams = (
  nic: ServiceClient,
  body: { ips: string[]; direction: 'rx' | 'tx'; streams: number; linkGbps: number | null },
): Promise<StreamStatus> => nic.call('/streams', { method: 'POST', body });
export const stopStreams = (nic: ServiceClient): Promise<StreamStatus> => nic.call('/streams', { method: 'DELETE' });
