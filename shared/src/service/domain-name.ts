/** How domains are called in logs, tables, messages and metrics. */
import { DOMID_CONTROL, DOMID_DRIVER, DOMID_NIC } from '../abi/page.js';

/** @returns hypervisor, driver-domain, nic, guest1 ... guest32 */
export function domainName(domid: number): string {
  if (domid === DOMID_CONTROL) return 'hypervisor';
  if (domid === DOMID_DRIVER) return 'driver-domain';
  return domid === DOMID_NIC ? 'nic' : `guest${domid}`;
}
