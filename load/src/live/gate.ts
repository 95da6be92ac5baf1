/** Who may talk to the live page's server. A page of another site, opened in the same browser, must neither read figures nor
 *  use controls: it could reach 127.0.0.1 with a WebSocket (Origin tells) or under a name of its own that resolves to
 *  127.0.0.1 (DNS rebinding; Host tells). */
import { hostname } from 'node:os';
import { isIP } from 'node:net';

/** The host part of a Host header, in lower case and without brackets; null when it is none. */
export function hostOf(header: string | undefined): string | null {
  if (header === undefined) return null;
  const m = /^(?:\[([0-9a-f:.]+)\]|([\w.-]+))(?::\d{1,5})?$/i.exec(header);
  return m ? (m[1] ?? m[2]).toLowerCase() : null;
}

const isLoopback = (host: string): boolean =>
  host === 'localhost' || host === '::1' || /^127(\.\d{1,3}){3}$/.test(host);

/** @param bound where the server listens
 *  @returns null when a request with this Host header may be answered, else why not. Addresses cannot be rebound; of names
 *  only those of this machine are taken */
export function refuseHost(header: string | undefined, bound: string): string | null {
  const host = hostOf(header);
  if (host === null) return 'the Host header is missing or is none';
  if (host === bound.toLowerCase() || isLoopback(host)) return null;
  if (!isLoopback(bound) && (isIP(host) !== 0 || host === hostname().toLowerCase())) return null;
  return `"${host}" is not a name of this page: open it by its address`;
}

/** @returns null when a WebSocket may be opened from a page of that origin, else why not */
export function refuseOrigin(origin: string | undefined, hostHeader: string | undefined): string | null {
  if (origin === undefined) return 'the Origin header is missing: only the live page may connect';
  try {
    const url = new URL(origin);
    if (url.protocol === 'http:' && url.host === hostHeader?.toLowerCase().replace(/:80$/, '')) return null;
  } catch {
    // Not a URL ("null" is what sandboxed pages send).
  }
  return `a page of ${origin.slice(0, 100)} may not connect`;
}
