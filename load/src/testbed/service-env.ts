/** What a service is told by its environment: who it is, and where its data thread runs. */
import { statSync } from 'node:fs';
import { dirname } from 'node:path';
import { coreFor } from '@grantline/shared/service/placement.js';
import type { DomainKind, NewDomain } from '../runner/client.js';
import { REPOSITORY } from './paths.js';

/** @param nth how many of its kind there were before it @param cores those that this process may use */
export function placeEnv(kind: DomainKind, nth: number, cores: readonly number[]): Record<string, string> {
  const core = coreFor(kind, nth, cores);
  return core === null ? {} : { GRANTLINE_CORE: String(core), ...nativePlace(kind, cores) };
}

/** In `native` the driver domain is the receiver: it then takes the first guest's core, which nobody else needs. */
function nativePlace(kind: DomainKind, cores: readonly number[]): Record<string, string> {
  const core = coreFor('guest', 0, cores);
  return kind === 'driver-domain' && core !== null ? { GRANTLINE_NATIVE_CORE: String(core) } : {};
}

export function identityEnv(domain: NewDomain): Record<string, string> {
  const env: Record<string, string> = { GRANTLINE_DOMID: String(domain.domid), GRANTLINE_SECRET: domain.secret };
  // As root each domain runs under its own uid; the service drops to it by itself once it has opened what it needs.
  if (separateUsers() && domain.uid !== null && domain.gid !== null) {
    env['GRANTLINE_UID'] = String(domain.uid);
    env['GRANTLINE_GID'] = String(domain.gid);
    env['GRANTLINE_GROUPS'] = (domain.groups ?? []).join(',');
  }
  return env;
}

/** Root can give each domain a user of its own, if that user can then read the code: below a closed directory, as /root is, none can. */
export function separateUsers(): boolean {
  return process.getuid?.() === 0 && closedAbove(REPOSITORY) === null;
}

/** @returns the directory, of `path` and those above it, that other users may not pass through; null when they may all */
export function closedAbove(path: string): string | null {
  for (let at = path; ; at = dirname(at)) {
    if ((statSync(at).mode & 0o001) === 0) return at;
    if (at === dirname(at)) return null;
  }
}
