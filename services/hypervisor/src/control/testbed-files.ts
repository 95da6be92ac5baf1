/** Everything under GRANTLINE_DIR that the hypervisor makes, with owners and modes as docs/wire/control-plane.md section 2
 *  has them (owners.ts): sockets and tokens. What domains share has no files (shares.ts). */
import { chmodSync, mkdirSync, rmSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { type DomId, openOwnDir, setDirMode, writeNewFile, type OwnDir, UsageError } from '@grantline/base';
import { SHARED_SOCKET } from '@grantline/xen';
import type { RoleGroups } from '@grantline/service';
import type { FileLock } from '@grantline/machine';
import { DirectoryError, MADE_HERE, claimDirectory, holderLine } from './claim.js';
import { ownersFor, type Identity, type Joiner, type Owner, type Owners } from './owners.js';

export interface FilesOptions {
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
    this.writeSecret(join(this.dir, 'token'), token, this.owners.token);
  }

  /** The token with which a service of that kind becomes a domain, and can do nothing else. */
  writeJoinToken(kind: Joiner, token: string): void {
    this.writeSecret(join(this.dir, 'join', kind), token, this.owners.joinToken(kind));
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

  private writeSecret(path: string, text: string, owner: Owner): void {
    writeNewFile(path, `${text}\n`, owner);
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
