/** What POST /load of the nic takes: services/nic/README.md. The only place that knows its form. */
import type { ServiceClient } from './client.js';

export type Protocol = 'auto' | 'tcp' | 'udp';

interface Link {
  /** null: unlimited. */
  linkGbps: number | null;
  /** 802.3x flow control. */
  pause: boolean;
}

export interface GeneratorLoad extends Link {
  kind: 'generate';
  run: string;
  seed: number;
  guests: { domid: number; mac: string; ip: string }[];
  frameBytes: number | 'imix';
  protocol: Protocol;
  flowsPerGuest: number;
}

/** Of the capture that was loaded before. */
export interface ReplayLoad extends Link {
  kind: 'replay';
  run: string;
  /** A number is a factor: 2 is twice as fast as recorded. */
  pace: 'recorded' | 'max' | number;
  loops: number;
}

export type Load = GeneratorLoad | ReplayLoad;

export interface LoadStatus {
  state: 'idle' | 'running' | 'done';
  /** Frames that the NIC took or dropped, and frames that wait for a buffer. */
  sentFrames: number;
  heldFrames: number;
}

export const startLoad = (nic: ServiceClient, load: Load): Promise<LoadStatus> =>
  nic.call('/load', { method: 'POST', body: load });
export const stopLoad = (nic: ServiceClient): Promise<LoadStatus> => nic.call('/load', { method: 'DELETE' });
export const loadStatus = (nic: ServiceClient): Promise<LoadStatus> => nic.call('/load');

/** Gives the nic a capture, as a file's bytes: it may live in another container. */
export const loadCapture = (nic: ServiceClient, file: Uint8Array<ArrayBuffer>): Promise<unknown> =>
  nic.call('/load/capture', { method: 'POST', bytes: file, timeoutMs: 60_000 });
