/** Where a service is that joins: its mount namespace, which a container has for itself and cannot make another of. Shown as a descriptor, as
 *  nobody can of a namespace that it is not in. docs/wire/control-plane.md section 3. */
import { randomBytes } from 'node:crypto';
import { closeSync, openSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { showDescriptor } from '@grantline/machine';
import { SHARED_SOCKET } from './hypervisor-port.js';

const OWN = '/proc/self/ns/mnt';
const FORM = /^mnt:\[\d+\]$/;

/** @returns the name under which it has been shown, for `x-grantline-place`; null when it cannot be: there is no such thing, or nobody
 *  to look */
export async function showPlace(dir: string): Promise<string | null> {
  let fd = -1;
  try {
    fd = openSync(OWN, 'r');
    const name = randomBytes(16).toString('hex');
    await showDescriptor(join(dir, SHARED_SOCKET), name, fd);
    return name;
  } catch {
    return null;
  } finally {
    if (fd >= 0) closeSync(fd);
  }
}

/** @param fd that somebody has shown @returns what it is called by the kernel; null when it is no mount namespace */
export function placeOf(fd: number): string | null {
  const name = readlinkSync(`/proc/self/fd/${fd}`);
  return FORM.test(name) ? name : null;
}

/** Of this process. */
export const ownPlace = (): string | null => {
  try {
    return readlinkSync(OWN);
  } catch {
    return null;
  }
};
