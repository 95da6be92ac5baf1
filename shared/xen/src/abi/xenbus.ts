/** xenbus states and xenstore paths of a vif. Sources: Xen public/io/xenbus.h, io/netif.h. See docs/wire/xenstore-paths.md. */
import type { DomId } from '@grantline/base';

export const XENBUS = {
  unknown: 0,
  initialising: 1,
  initWait: 2,
  initialised: 3,
  connected: 4,
  closing: 5,
  closed: 6,
} as const;
export type XenbusState = (typeof XENBUS)[keyof typeof XENBUS];
export const XENBUS_NAMES = Object.keys(XENBUS) as readonly (keyof typeof XENBUS)[];

export const domainPath = (domid: DomId): string => `/local/domain/${domid}`;
export const frontendPath = (front: DomId, dev: number): string => `${domainPath(front)}/device/vif/${dev}`;
export const backendPath = (back: DomId, front: DomId, dev: number): string =>
  `${domainPath(back)}/backend/vif/${front}/${dev}`;
/** Number of a guest's vif: each has one. */
export const VIF_DEV = 0;
/** Printed name of an interface, e.g. vif1.0. */
export const vifName = (front: DomId, dev: number): string => `vif${front}.${dev}`;
