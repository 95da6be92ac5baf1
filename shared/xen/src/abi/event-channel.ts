/** Event-channel page: one for each pair of domains that have a channel. See docs/wire/event-channel.md.
 *
 *  Xen keeps one bitmap per domain, and only Xen writes it. Here the sender writes the bit itself, so the bitmap is cut
 *  by peer: a hostile peer can touch the bits of its own channels and nobody else's.
 *
 *    0             1024          2048          3072          4096
 *    | lower domid's bits        | higher domid's bits       |
 *    | sel pending | sel.. mask  |
 *
 *  For each side: u32 selector at +0, u32 pending[32] at +128, u32 mask[32] at +256; bit p%32 of word p/32 is port p. */
export const EVTCHN_MAX_PORTS = 1024;
export const EVTCHN_SIDE_BYTES = 2048;
export const EVTCHN_SELECTOR = 0;
export const EVTCHN_PENDING = 128;
export const EVTCHN_MASK = 256;
export const EVTCHN_WORDS = EVTCHN_MAX_PORTS / 32;

export type EvtchnStatus = 'closed' | 'unbound' | 'interdomain';
