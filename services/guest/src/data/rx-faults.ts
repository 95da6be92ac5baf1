/** What netback may not do on a receive ring: the first of these breaks the queue, until the vif reconnects. */

/** Why a queue is broken; index into NETFRONT_FAULTS. */
export const BAD_INDEX = 1;
export const BAD_ID = 2;
export const BAD_SPAN = 3;
export const BAD_FLAGS = 4;
export const ENDLESS_CHAIN = 5;
export const STILL_IN_USE = 6;
export const BAD_EXTRA = 7;
export const NETFRONT_FAULTS = [
  'none',
  'rsp_prod is ahead of the requests',
  'response id is not the one of its slot',
  'response lies outside its buffer',
  'response has an extra-info flag that nobody asked for',
  'frame has more slots than any frame may have',
  'grant is still in use although answered',
  'extra info is not of a packet that can be cut',
] as const;
