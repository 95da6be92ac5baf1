/** Paths and errors of xenstore. Source: docs/misc/xenstore.txt: character set, lengths, relative paths. */
import type { DomId } from '@grantline/base';
import { domainPath } from '@grantline/xen';

const CHARSET = /^[A-Za-z0-9\-/_@]+$/;
const ABSOLUTE_MAX = 3072;
const RELATIVE_MAX = 2048;

export type StoreErrorCode = 'ENOENT' | 'EACCES' | 'EINVAL' | 'ENOSPC' | 'E2BIG' | 'EEXIST';

/** What the store answers when it refuses; the code is an errno name, as on Xen's wire. */
export class StoreError extends Error {
  readonly code: StoreErrorCode;
  constructor(code: StoreErrorCode, message: string) {
    super(message);
    this.code = code;
  }
}

/** Makes a path absolute: a relative one is under the caller's own /local/domain/<caller>.
 *  @throws StoreError EINVAL for a bad character, a double or trailing slash, or a path that is too long */
export function resolvePath(caller: DomId, path: string): string {
  const relative = !path.startsWith('/');
  if (path.length > (relative ? RELATIVE_MAX : ABSOLUTE_MAX)) throw new StoreError('EINVAL', 'the path is too long');
  if (path === '/') return path;
  if (!CHARSET.test(path) || path.endsWith('/') || path.includes('//') || path.startsWith('@'))
    throw new StoreError('EINVAL', `not a store path: ${path.slice(0, 80)}`);
  return relative ? `${domainPath(caller)}/${path}` : path;
}

/** The names on the way from the root. */
export const namesOf = (path: string): string[] => (path === '/' ? [] : path.slice(1).split('/'));

/** The path one level up; the root is its own parent. */
export const parentOf = (path: string): string => path.slice(0, Math.max(1, path.lastIndexOf('/')));
