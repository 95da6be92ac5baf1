/** Where guests are reached by TCP from the host: the doors of the edge, in the nic. The only place that knows the form of
 *  GET and POST /edge, /ping and /streams. */
import type { ServiceAddress } from './client.js';
import { call } from './http.js';

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
export const edgeDoors = (nic: ServiceAddress): Promise<EdgeDoor[]> => call(nic.name, nic.http, '/edge');

/** Opens a way to another port of a guest's. */
export const openDoor = (nic: ServiceAddress, domid: number, port: number): Promise<EdgeDoor> =>
  call(nic.name, nic.http, '/edge', { method: 'POST', body: { domid, port } });

/** One ICMP echo from the outer stack. @returns microseconds; null: no right answer */
export async function ping(nic: ServiceAddress, ip: string, bytes = 56, timeoutMs = 2000): Promise<number | null> {
  const { us } = await call<{ us: number | null }>(nic.name, nic.http, '/ping', {
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
  nic: ServiceAddress,
  body: { ips: string[]; direction: 'rx' | 'tx'; streams: number; linkGbps: number | null },
): Promise<StreamStatus> => call(nic.name, nic.http, '/streams', { method: 'POST', body });
export const stopStreams = (nic: ServiceAddress): Promise<StreamStatus> =>
  call(nic.name, nic.http, '/streams', { method: 'DELETE' });
export const streamStatus = (nic: ServiceAddress): Promise<StreamStatus> => call(nic.name, nic.http, '/streams');
