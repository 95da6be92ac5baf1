/** Words that the parts of a receive queue share. */

/** What became of a frame. */
export const DELIVERED = 0;
/** Not enough buffers: nothing was written or counted, the frame may be offered again. */
export const NO_BUFFER = 1;
/** The frame is gone, and counted with its reason. */
export const DROPPED = 2;

/** Why a queue has stopped. */
export type QueueFault =
  | 'none'
  /** An index, or a chain of descriptors, that cannot be. */
  | 'index'
  /** Its own pages are not the driver's any more. */
  | 'revoked'
  /** It threw: a fault of ours. */
  | 'failed';

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
  /** Called once, when the queue has stopped. From inside a burst. @param err what it threw */
  readonly onStop?: (fault: QueueFault, err?: unknown) => void;
  readonly moderationFrames: number;
  readonly moderationUs: number;
}

/** What every queue has, whichever way it goes. */
export interface BurstQueue {
  endBurst(): void;
  moderate(sleeping: boolean): void;
  failed(err: unknown): void;
}

/** Does a step of a queue's; what that throws stops this queue alone. */
export function contained(queue: BurstQueue, step: (queue: BurstQueue) => void): void {
  try {
    step(queue);
  } catch (err) {
    queue.failed(err);
  }
}

export const endBurst = (queue: BurstQueue): void => queue.endBurst();
export const moderate = (queue: BurstQueue): void => queue.moderate(false);
export const moderateAll = (queue: BurstQueue): void => queue.moderate(true);
