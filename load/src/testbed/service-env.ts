/** What a service is told by its environment: who it is, and where its data thread runs. */
import { existsSync, readdirSync, statSync } from 'node:fs';
import { dirname, isAbsolute, join } from 'node:path';
import { coreFor, type Placement } from '@grantline/base';
import type { DomainKind, NewDomain } from '../control/client.js';
import { CODE, REPOSITORY, SERVICES } from './paths.js';

/** Fewer are no crowd: what a service does then needs no number. */
const FEW_SHARERS = 4;

/** @param nth how many of its kind there were before it @param cores those that this process may use @param guests of the testbed, it included */
export function placeEnv(
  kind: DomainKind,
  nth: number,
  cores: readonly number[],
  placement: Placement,
  guests: number,
): Record<string, string> {
  const core = coreFor(kind, nth, cores, placement);
  const others = Array.from({ length: guests }, (_, i) => coreFor('guest', i, cores, placement));
  others.push(coreFor('nic', 0, cores, placement), coreFor('driver-domain', 0, cores, placement));
  // Without cores of their own they share all of them evenly.
  const sharers = core === null ? others.length / Math.max(1, cores.length) : others.filter((c) => c === core).length;
  const crowd = sharers <= FEW_SHARERS ? {} : { GRANTLINE_SHARERS: String(Math.ceil(sharers)) };
  if (core === null) return crowd;
  // In `native` the driver domain is the receiver: it then takes the first guest's core, which nobody else needs.
  const native = kind === 'driver-domain' ? coreFor('guest', 0, cores, placement) : null;
  const pins = { GRANTLINE_CORE: String(core), ...(native === null ? {} : { GRANTLINE_NATIVE_CORE: String(native) }) };
  return { ...pins, ...crowd };
}

/** Nothing else of the operator's environment reaches a service: a guest whose code was replaced would read it. */
const INHERITED = /^(PATH|TZ|LANG|LANGUAGE|LC_[A-Z]+|GRANTLINE_LOG|GRANTLINE_HYPERCALLS|GRANTLINE_REVISION)$/;

/** What a service has of our own environment. @param env replaced in tests */
export function inheritedEnv(env: NodeJS.ProcessEnv = process.env): Record<string, string> {
  const out: Record<string, string> = {};
  for (const [key, value] of Object.entries(env)) if (value !== undefined && INHERITED.test(key)) out[key] = value;
  return out;
}

/** A domain's user. */
export interface ServiceUser {
  uid: number;
  gid: number;
  groups: number[];
}

export const identityEnv = (domain: NewDomain): Record<string, string> => ({
  GRANTLINE_DOMID: String(domain.domid),
  GRANTLINE_SECRET: domain.secret,
});

/** Whom a domain's process is to be, in the testbed's directory; null: whom we are. */
export function userOf({ uid, gid, groups }: NewDomain, dir: string): ServiceUser | null {
  return separateUsers(dir) && uid !== null && gid !== null ? { uid, gid, groups } : null;
}

/** How to start `command` as that user: it is nobody else from its first moment.
 *  @returns null where that cannot be done: it then starts as we are and drops to the user by itself, as what needs root at first does */
export function startAs({ uid, gid, groups }: ServiceUser, command: readonly string[]): string[] | null {
  const setpriv = setprivPath();
  if (setpriv === null || closedToOthers(command[0]) !== null) return null;
  const others = groups.length > 0 ? [`--groups=${groups.join(',')}`] : ['--clear-groups'];
  return [
    setpriv,
    `--reuid=${uid}`,
    `--regid=${gid}`,
    ...others,
    '--inh-caps=-all',
    '--no-new-privs',
    '--',
    ...command,
  ];
}

/** The environment by which a service becomes that user itself, or sees that it is. */
export const userEnv = ({ uid, gid, groups }: ServiceUser): Record<string, string> => ({
  GRANTLINE_UID: String(uid),
  GRANTLINE_GID: String(gid),
  GRANTLINE_GROUPS: groups.join(','),
});

/** Part of util-linux. @returns null where it is not installed */
export function setprivPath(env: NodeJS.ProcessEnv = process.env): string | null {
  const dirs = [...(env['PATH'] ?? '').split(':').filter(isAbsolute), '/usr/bin', '/bin', '/usr/sbin', '/sbin'];
  return dirs.map((dir) => join(dir, 'setpriv')).find((path) => existsSync(path)) ?? null;
}

/** Root can give each domain a user of its own, if that user can then read the code and reach the testbed's directory. */
export const separateUsers = (dir: string): boolean => process.getuid?.() === 0 && closedFor(dir) === null;

/** @returns what other users may not read or pass through, of all that a domain needs: the code, what it is made of, and the testbed's
 *  directory; null when they may everything */
export function closedFor(dir: string): string | null {
  return closedToOthers(dirname(dir)) ?? closedCode();
}

/** undefined: not looked at yet. */
let closedCodeSeen: string | null | undefined;

function closedCode(): string | null {
  const packages = [
    ...readdirSync(join(REPOSITORY, 'shared')).map((s) => `shared/${s}`),
    ...SERVICES.map((s) => `services/${s}`),
  ]
    .map((p) => join(REPOSITORY, p))
    // A checkout may keep what an older build left.
    .filter((p) => existsSync(join(p, 'package.json')));
  const modules = join(REPOSITORY, 'node_modules');
  const isBuilt = CODE === REPOSITORY;
  const manifests = isBuilt ? packages.map((p) => join(p, 'package.json')) : [];
  const code = isBuilt ? packages.map((p) => join(p, 'dist/src')) : [CODE];
  const checks = [
    ...[join(REPOSITORY, 'package.json'), modules, ...manifests].map((path) => () => closedToOthers(path)),
    ...code.flatMap((path) => [() => closedToOthers(path), () => closedBelow(path, 9)]),
    () => closedBelow(modules, 2),
  ];
  closedCodeSeen ??= checks.reduce<string | null>((found, check) => found ?? check(), null);
  return closedCodeSeen;
}

/** @returns what is in the way of other users: `path`, or a directory above it; null when they may read it */
export function closedToOthers(path: string): string | null {
  const s = statSync(path, { throwIfNoEntry: false });
  if (s === undefined) return dirname(path) === path ? null : closedToOthers(dirname(path));
  const wanted = s.isDirectory() ? 0o001 : 0o004;
  if ((s.mode & wanted) === 0) return path;
  return dirname(path) === path ? null : closedToOthers(dirname(path));
}

/** Files are made with the umask of whoever cloned, installed and built, which may each have been another.
 *  @param depth how many directories deep */
export function closedBelow(dir: string, depth: number): string | null {
  for (const e of readdirSync(dir, { withFileTypes: true })) {
    const path = join(dir, e.name);
    const isCode = e.isDirectory() ? !e.name.startsWith('.') : e.isFile() && /\.[cm]?js(on)?$/.test(e.name);
    if (!isCode) continue;
    const wanted = e.isDirectory() ? 0o005 : 0o004;
    if (((statSync(path, { throwIfNoEntry: false })?.mode ?? wanted) & wanted) !== wanted) return path;
    const below = e.isDirectory() && depth > 1 ? closedBelow(path, depth - 1) : null;
    if (below !== null) return below;
  }
  return null;
}
