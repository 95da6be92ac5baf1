/** Shared ring page. Source: Xen public/io/ring.h. See docs/wire/ring.md.
 *
 *    0          4           8          12          16            64
 *    | req_prod | req_event | rsp_prod | rsp_event | private/pad | slot 0 | slot 1 | ...
 *
 *  Front writes req_prod and rsp_event; back writes rsp_prod and req_event. All are free-running u32. */
export const RING_REQ_PROD = 0;
export const RING_REQ_EVENT = 4;
export const RING_RSP_PROD = 8;
export const RING_RSP_EVENT = 12;
export const RING_HEADER_BYTES = 64;

export const TX_RING_SIZE = 256;
export const RX_RING_SIZE = 256;
export const CTRL_RING_SIZE = 128;
