/** Pages and domains. Sources: Xen public/xen.h (domid_t, DOMID_FIRST_RESERVED), io/ring.h (XEN_PAGE_SHIFT). */

export const PAGE_SHIFT = 12;
/** Bytes in a page of domain memory. A page is memory; a frame is Ethernet, never the other way round. */
export const PAGE_SIZE = 1 << PAGE_SHIFT;

declare const brand: unique symbol;
type Brand<B extends string> = number & { readonly [brand]: B };

/** A domain's number, 0 to DOMID_FIRST_RESERVED - 1. */
export type DomId = Brand<'DomId'>;
/** Number of a page inside one domain's memory. */
export type Pfn = Brand<'Pfn'>;
/** Index of an entry in the granter's grant table. */
export type Gref = Brand<'Gref'>;
/** Names one live mapping of a grant; local to the grantee. */
export type GrantHandle = Brand<'GrantHandle'>;
/** A domain's local name for its end of an event channel; 0 is never valid. */
export type Port = Brand<'Port'>;
/** Page number as the NIC sees it: an index into the DMA translation table; 0 is never valid. */
export type Dpn = Brand<'Dpn'>;

export const DOMID_CONTROL = 0 as DomId;
/** The driver domain. Guests count from 1, so that the first guest's interface is vif1.0 as in Xen. */
export const DOMID_DRIVER = 1000 as DomId;
/** The NIC. It stands for hardware; it has a number because it owns event-channel ports. */
export const DOMID_NIC = 1001 as DomId;
/** Highest number that a guest may have. */
export const MAX_GUESTS = 32;
export const DOMID_FIRST_RESERVED = 0x7ff0;

/** @throws RangeError when n is no domain number */
export function parseDomId(n: number): DomId {
  if (!Number.isInteger(n) || n < 0 || n >= DOMID_FIRST_RESERVED) throw new RangeError(`${n} is not a domain number`);
  return n as DomId;
}

/** How domains are called in logs, tables, messages and metrics.
 *  @returns hypervisor, driver-domain, nic, guest1 ... guest32 */
export function domainName(domid: number): string {
  if (domid === DOMID_CONTROL) return 'hypervisor';
  if (domid === DOMID_DRIVER) return 'driver-domain';
  return domid === DOMID_NIC ? 'nic' : `guest${domid}`;
}
