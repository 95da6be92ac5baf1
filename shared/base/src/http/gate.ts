/** Who may talk to a server of ours: a page of another site, opened in a browser of this machine, may not. It could reach us with a
 *  WebSocket or a form (Origin tells), or under a name of its own that resolves to our address (DNS rebinding; Host tells). And who
 *  may do more than look: a caller that knows a secret. */
import { createHash, timingSafeEqual } from 'node:crypto';
import { hostname } from 'node:os';
import { isIP } from 'node:net';

export interface Gate {
  /** Where the server listens. */
  bound: string;
  /** What else it is called, as NAME or NAME:PORT: in containers, or behind a proxy. */
  names: readonly string[];
}

/** Form of one name in settings: a host name, with the port of a proxy where that is not 443. */
export const NAME_FORM = '[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?(:[0-9]{1,5})?';

/** The host part of a Host header, in lower case and without brackets; null when it is none. */
export function hostOf(header: string | undefined): string | null {
  if (header === undefined) return null;
  const m = /^(?:\[([0-9a-f:.]+)\]|([\w.-]+))(?::\d{1,5})?$/i.exec(header);
  return m ? (m[1] ?? m[2]).toLowerCase() : null;
}

export const isLoopback = (host: string): boolean =>
  host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'));

/** @returns null when a request with this Host header may be answered, else why not. Addresses cannot be rebound; of names
 *  only those of this machine are taken, and those that the user gave */
export function refuseHost(header: string | undefined, { bound, names }: Gate): string | null {
  const host = hostOf(header);
  if (host === null) return 'the Host header is missing or is none';
  if (host === bound.toLowerCase() || isLoopback(host)) return null;
  if (names.some((name) => hostOf(name) === host)) return null;
  if (!isLoopback(bound) && (isIP(host) !== 0 || host === hostname().toLowerCase())) return null;
  return `"${host}" is not a name of this server: use its address, or give it the name`;
}

/** @returns null when a page of that origin is one of ours, else why not: one that this server has answered with, or that a proxy
 *  has, under one of the names given, by TLS */
export function refuseOrigin(origin: string, hostHeader: string | undefined, { names }: Gate): string | null {
  try {
    const url = new URL(origin);
    if (url.protocol === 'http:' && url.host === hostHeader?.toLowerCase().replace(/:80$/, '')) return null;
    if (url.protocol === 'https:' && names.some((name) => name.toLowerCase().replace(/:443$/, '') === url.host))
      return null;
  } catch {
    // Not a URL ("null" is what sandboxed pages send).
  }
  return `a page of ${origin.slice(0, 100)} may not ask this server`;
}

/** In the same time whatever was given; a secret that is empty is nobody's. */
export function isBearer(authorization: string | undefined, secret: string): boolean {
  const hash = (text: string): Buffer => createHash('sha256').update(text).digest();
  return timingSafeEqual(hash(authorization ?? ''), hash(`Bearer ${secret}`)) && secret !== '';
}
