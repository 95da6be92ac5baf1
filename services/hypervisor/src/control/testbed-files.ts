/** Everything under GRANTLINE_DIR that the hypervisor makes, with owners and modes as docs/wire/control-plane.md section 2
 *  has them (ownersFor): sockets and tokens. What domains share has no files (shares.ts). */
import { readdirSync, rmSync, chmodSync, mkdirSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import {
  startTimeOf,
  UsageError,
  openOwnDir,
  setDirMode,
  writeNewFile,
  type DomId,
  type FileOwner,
  type OwnDir,
} from '@grantline/base';
import type { RoleGroups } from '@grantline/service';
import { FileLock } from '@grantline/machine';
import { SHARED_SOCKET } from '@grantline/xen';
import type { DomainKind } from './domains.js';

/** Something about the directory that the operator must put right: one line that says what and what to do. */
class DirectoryError extends UsageError {}

/** Everything that a hypervisor makes, in the directory. */
const MADE_HERE = ['join', 'hypervisor.sock', 'shared.sock', 'token', 'testbed.json', 'hypervisor.pid'] as const;

interface FilesOptions {
  /** Groups of the roles, where there are such. */
  roles?: RoleGroups | null;
  /** Remove what a killed hypervisor left. */
  reclaim?: boolean;
}

export class TestbedFiles {
  readonly dir: string;
  private readonly owners: Owners;
  private readonly lock: FileLock;
  private readonly madeDir: boolean;
  /** Mode of the directory as it was found. */
  private readonly foundMode: number;
  private removed = false;

  /** Takes the directory.
   *  @throws DirectoryError when it is in use, or was left by a run that was killed */
  constructor(dir: string, o: FilesOptions = {}) {
    const own = ownDir(dir);
    this.dir = own.path;
    this.owners = ownersFor(o.roles ?? null);
    this.madeDir = own.made;
    this.foundMode = own.mode;
    this.lock = claimDirectory(this.dir, o.reclaim ?? false);
    setDirMode(this.dir, this.owners.dirMode);
    // To be passed through, not to be listed.
    const tokens = join(this.dir, 'join');
    mkdirSync(tokens);
    setDirMode(tokens, 0o711);
  }

  get socket(): string {
    return join(this.dir, 'hypervisor.sock');
  }

  /** Where descriptors are handed out. */
  get sharedSocket(): string {
    return join(this.dir, SHARED_SOCKET);
  }

  /** Whom the domain's process should become. */
  identityOf(domid: DomId): Identity {
    return this.owners.identity(domid);
  }

  writeToken(token: string): void {
    writeNewFile(join(this.dir, 'token'), `${token}\n`, this.owners.token);
  }

  /** The token with which a service of that kind becomes a domain, and can do nothing else. */
  writeJoinToken(kind: DomainKind, token: string): void {
    writeNewFile(join(this.dir, 'join', kind), `${token}\n`, this.owners.joinToken(kind));
  }

  /** A socket came into being by listening; every domain must be able to connect, and each has to say who it is. */
  openSocket(path: string): void {
    chmodSync(path, this.owners.socketMode);
  }

  /** Says at which port it answers: its supervisor knows then that no stranger answers there. */
  announce(port: number): void {
    this.lock.write(holderLine(port));
  }

  /** Removes all that a hypervisor makes, and the directory where it was made here. Once: afterwards the directory may be
   *  somebody else's. */
  removeAll(): void {
    if (this.removed) return;
    this.removed = true;
    for (const name of MADE_HERE)
      if (name !== 'hypervisor.pid') rmSync(join(this.dir, name), { recursive: true, force: true });
    this.lock.release(true);
    try {
      if (this.madeDir) rmdirSync(this.dir);
      else chmodSync(this.dir, this.foundMode);
    } catch {
      // Somebody put a file of their own there, which is not ours to remove, or has removed it all.
    }
  }
}

/** @throws DirectoryError, NotOursError when it cannot be made or is not ours */
function ownDir(dir: string): OwnDir {
  try {
    return openOwnDir(dir, 0o700)!;
  } catch (error) {
    if (error instanceof UsageError) throw error;
    throw new DirectoryError(
      `cannot make ${dir} (${(error as Error).message}): set GRANTLINE_DIR to a directory on tmpfs`,
    );
  }
}

/** Taking the directory: one hypervisor at a time, and what a killed one left is seen. The proof that nobody uses it is the lock on
 *  hypervisor.pid.
 *  @param reclaim remove what a killed hypervisor left; otherwise that is an error
 *  @returns the lock: releasing it gives the directory up
 *  @throws DirectoryError when it is in use, cannot be taken, or was left by a run that was killed */
function claimDirectory(dir: string, reclaim: boolean): FileLock {
  const left = readdirSync(dir).filter(
    (name) => (MADE_HERE as readonly string[]).includes(name) && name !== 'testbed.json',
  );
  const lock = locked(dir);
  if (left.length > 0 && !reclaim) {
    // The file stays for commands that look for the living, unless it is ours.
    lock.release(!left.includes('hypervisor.pid'));
    throw new DirectoryError(
      `${dir} was left by a run that was killed: remove it (grantline down, or rm -r ${dir}) and start again`,
    );
  }
  for (const name of left) if (name !== 'hypervisor.pid') rmSync(join(dir, name), { recursive: true, force: true });
  lock.write(holderLine(0));
  return lock;
}

/** What hypervisor.pid holds: the process, when it started, and the port at which it answers.
 *  @param port 0: it does not answer yet */
const holderLine = (port: number): string => `${process.pid} ${startTimeOf(process.pid) ?? ''} ${port}\n`;

function locked(dir: string): FileLock {
  let taken: FileLock | string;
  try {
    taken = FileLock.take(join(dir, 'hypervisor.pid'));
  } catch (error) {
    if (error instanceof UsageError) throw error;
    throw new DirectoryError(
      `cannot take ${dir} (${(error as Error).message}): set GRANTLINE_DIR to another directory`,
    );
  }
  if (taken instanceof FileLock) return taken;
  const [pid = ''] = taken.trim().split(' ');
  throw new DirectoryError(
    `${dir} is in use by the hypervisor with pid ${pid}: stop it, or set GRANTLINE_DIR to another directory`,
  );
}

/** uid and gid of domain d are UID_BASE + d. */
export const UID_BASE = 64000;

/** A process's user and groups; uid and gid null: as it was started. */
export interface Identity {
  readonly uid: number | null;
  readonly gid: number | null;
  readonly groups: number[];
}

interface Owners {
  /** Mode of the directory itself. */
  readonly dirMode: number;
  readonly socketMode: number;
  readonly token: FileOwner;
  joinToken(kind: DomainKind): FileOwner;
  /** Whom the domain's process should become. */
  identity(domid: DomId): Identity;
}

/** Whose the files are, who else may open them, and whom domains run as. docs/wire/control-plane.md section 2, docs/adr/0013.
 *
 *  Three ways, by what the machine allows:
 *  - as root each domain has its own uid, and the operating system keeps their processes apart;
 *  - with roles (containers) each kind of service has its own user, and the hypervisor is in all their groups: it can give
 *    a file to a group that it is in. All guests are one user then, and their containers keep them apart;
 *  - otherwise all is one user's, and the directory keeps other users out.
 *
 *  @param roles groups of the roles, or null */
function ownersFor(roles: RoleGroups | null): Owners {
  const asStarted = (): Identity => ({ uid: null, gid: null, groups: [] });
  if (roles !== null) {
    const to = (gid: number): FileOwner => ({ uid: -1, gid, mode: 0o640 });
    const joinToken = (kind: DomainKind): FileOwner => to(roles[kind]);
    return { dirMode: 0o711, socketMode: 0o666, token: to(roles.operator), joinToken, identity: asStarted };
  }
  const isRoot = process.getuid?.() === 0;
  const token: FileOwner = { uid: isRoot ? 0 : -1, gid: isRoot ? 0 : -1, mode: 0o600 };
  const joinToken = (): FileOwner => token;
  if (!isRoot) return { dirMode: 0o700, socketMode: 0o600, token, joinToken, identity: asStarted };
  const identity = (d: DomId): Identity => ({ uid: UID_BASE + d, gid: UID_BASE + d, groups: [] });
  return { dirMode: 0o755, socketMode: 0o666, token, joinToken, identity };
}
