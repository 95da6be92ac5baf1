/** Words that the parts of a receive queue share. */

/** What became of a frame. */
export const DELIVERED = 0;
/** Not enough buffers: nothing was written or counted, the frame may be offered again. */
export const NO_BUFFER = 1;
/** The frame is gone, and counted with its reason. */
export const DROPPED = 2;

/** Why a queue has stopped. */
export type QueueFault = 'none' | 'index' | 'revoked';

/** The driver's doorbell. */
export interface Notifier {
  notify(): unknown;
}

/** What a driver asked for when it attached the queue, checked by the control part. */
export interface QueueSettings {
  /** Address of the function whose transmit queue this is; none: the driver switches itself, all goes to the cable. */
  mac?: number | null;
  readonly name: string;
  /** Domain that drives the queue, and domain whose pages may be on it. */
  readonly context: number;
  readonly target: number;
  readonly headerDpn: number;
  readonly availDpn: number;
  readonly compDpn: number;
  readonly moderationFrames: number;
  readonly moderationUs: number;
}
