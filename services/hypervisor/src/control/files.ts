/** Everything under GRANTLINE_DIR that the hypervisor makes, with owners and modes as docs/wire/control-plane.md section 2
 *  has them (owners.ts). */
import {
  chmodSync,
  closeSync,
  constants,
  ftruncateSync,
  mkdirSync,
  openSync,
  rmSync,
  rmdirSync,
  statfsSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { DMA_TABLE_BYTES } from '@grantline/shared/abi/dma.js';
import { DOMID_CONTROL, PAGE_SIZE, type DomId } from '@grantline/shared/abi/page.js';
import { makeFifo, reserveFile } from '@grantline/shared/mem/libc.js';
import type { RoleGroups } from '@grantline/shared/service/env.js';
import type { FileLock } from '@grantline/shared/service/file-lock.js';
import {
  createFile,
  giveFile,
  openOwnDir,
  setDirMode,
  writeNewFile,
  type OwnDir,
} from '@grantline/shared/service/own-dir.js';
import { UsageError } from '@grantline/shared/service/usage-error.js';
import { DirectoryError, MADE_HERE, claimDirectory, holderLine } from './claim.js';
import { ownersFor, type Identity, type Joiner, type Owner, type Owners } from './owners.js';

export { DirectoryError } from './claim.js';

export interface FilesOptions {
  /** Groups of the roles, where there are such. */
  roles?: RoleGroups | null;
  /** Remove what a killed hypervisor left. */
  reclaim?: boolean;
  /** How much shared memory there is; replaced in tests. */
  freeBytes?: () => number;
}

export class TestbedFiles {
  readonly dir: string;
  private readonly owners: Owners;
  private readonly lock: FileLock;
  private readonly madeDir: boolean;
  /** Mode of the directory as it was found. */
  private readonly foundMode: number;
  private removed = false;
  /** Names below `domain` and below `evtchn`. */
  private readonly homes = new Map<DomId, string>([[DOMID_CONTROL, '0']]);
  private readonly pages = new Map<string, string>();
  private readonly freeBytes: () => number;

  /** Takes the directory.
   *  @throws DirectoryError when it is in use, or was left by a run that was killed */
  constructor(dir: string, o: FilesOptions = {}) {
    const own = ownDir(dir);
    this.dir = own.path;
    this.owners = ownersFor(o.roles ?? null);
    this.freeBytes = o.freeBytes ?? (() => freeIn(this.dir));
    this.madeDir = own.made;
    this.foundMode = own.mode;
    this.lock = claimDirectory(this.dir, o.reclaim ?? false);
    setDirMode(this.dir, this.owners.dirMode);
    // To be passed through, not to be listed.
    for (const name of ['domain', 'evtchn', 'join']) this.makeDir(join(this.dir, name), 0o711);
    this.makeDir(join(this.dir, 'dma'), 0o755);
    this.makeDir(join(this.dir, this.homeOf(DOMID_CONTROL)), 0o755);
  }

  /** A domain's directory, relative to GRANTLINE_DIR, which may be mounted elsewhere at the domain's. */
  homeOf(domid: DomId): string {
    return join('domain', this.homes.get(domid) ?? String(domid));
  }
  /** As homeOf. */
  memoryOf(domid: DomId): string {
    return join(this.homeOf(domid), 'memory');
  }
  /** As homeOf. */
  doorbellOf(domid: DomId): string {
    return join(this.homeOf(domid), 'doorbell');
  }
  /** The page of a pair's event channels; as homeOf. */
  eventPageOf(low: DomId, high: DomId): string {
    return join('evtchn', this.pages.get(`${low}-${high}`) ?? `${low}-${high}`);
  }
  memory(domid: DomId): string {
    return join(this.dir, this.memoryOf(domid));
  }
  doorbell(domid: DomId): string {
    return join(this.dir, this.doorbellOf(domid));
  }
  counters(domid: DomId): string {
    return join(this.dir, this.homeOf(domid), 'counters');
  }
  eventPage(low: DomId, high: DomId): string {
    return join(this.dir, this.eventPageOf(low, high));
  }
  get dmaTable(): string {
    return join(this.dir, 'dma', 'table');
  }
  get dmaBurst(): string {
    return join(this.dir, 'dma', 'burst');
  }
  get socket(): string {
    return join(this.dir, 'hypervisor.sock');
  }

  /** Whom the domain's process should become. */
  identityOf(domid: DomId): Identity {
    return this.owners.identity(domid);
  }

  /** Memory, doorbell and an empty counter file. The directory itself stays the hypervisor's: a domain that could replace
   *  its memory file by a link would make the driver domain map another's. @throws DirectoryError when memory is short */
  makeDomain(domid: DomId, memoryBytes: number): void {
    this.homes.set(domid, `${domid}${this.owners.secret(domid)}`);
    this.makeDir(join(this.dir, this.homeOf(domid)), 0o711);
    try {
      this.makeFile(this.memory(domid), memoryBytes, this.owners.memory(domid));
      this.makeDoorbell(this.doorbell(domid), this.owners.doorbell(domid));
      this.makeFile(this.counters(domid), 0, this.owners.counters(domid));
    } catch (error) {
      this.removeDomain(domid);
      throw error;
    }
  }

  /** Also when some of it is not there. */
  removeDomain(domid: DomId): void {
    rmSync(join(this.dir, this.homeOf(domid)), { recursive: true, force: true });
    this.homes.delete(domid);
  }

  makeEventPage(low: DomId, high: DomId): void {
    this.pages.set(`${low}-${high}`, `${low}-${high}${this.owners.secret(low)}`);
    this.makeFile(this.eventPage(low, high), PAGE_SIZE, this.owners.eventPage(low, high));
  }

  removeEventPage(low: DomId, high: DomId): void {
    rmSync(this.eventPage(low, high), { force: true });
    this.pages.delete(`${low}-${high}`);
  }

  makeDma(): void {
    this.makeFile(this.dmaTable, DMA_TABLE_BYTES, this.owners.dmaTable);
    this.makeFile(this.dmaBurst, PAGE_SIZE, this.owners.dmaBurst);
  }

  writeToken(token: string): void {
    this.writeSecret(join(this.dir, 'token'), token, this.owners.token);
  }

  /** The token with which a service of that kind becomes a domain, and can do nothing else. */
  writeJoinToken(kind: Joiner, token: string): void {
    this.writeSecret(join(this.dir, 'join', kind), token, this.owners.joinToken(kind));
  }

  /** Back to "no transfer under way", for a new nic. */
  resetBurst(): void {
    writeFileSync(this.dmaBurst, Buffer.alloc(PAGE_SIZE), { flag: 'r+' });
  }

  /** The socket came into being by listening; every domain must be able to connect, and each has to say who it is. */
  openSocket(): void {
    chmodSync(this.socket, this.owners.socketMode);
  }

  /** Says at which port it answers: whoever started it knows then that it is not a stranger who does. */
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

  private makeDir(path: string, mode: number): void {
    mkdirSync(path);
    setDirMode(path, mode);
  }

  private makeDoorbell(path: string, owner: Owner): void {
    makeFifo(path, 0o600);
    const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW);
    try {
      giveFile(fd, owner);
    } finally {
      closeSync(fd);
    }
  }

  private writeSecret(path: string, text: string, owner: Owner): void {
    writeNewFile(path, `${text}\n`, owner);
  }

  private makeFile(path: string, bytes: number, owner: Owner): void {
    const fd = createFile(path);
    try {
      const free = this.freeBytes();
      if (bytes > free) throw new DirectoryError(this.tooSmall(path, bytes, free));
      ftruncateSync(fd, bytes);
      try {
        if (bytes > 0) reserveFile(fd, bytes);
      } catch (error) {
        throw (error as Error).message.startsWith('ENOSPC')
          ? new DirectoryError(this.tooSmall(path, bytes, this.freeBytes()))
          : error;
      }
      giveFile(fd, owner);
    } catch (error) {
      rmSync(path, { force: true });
      throw error;
    } finally {
      closeSync(fd);
    }
  }

  private tooSmall(path: string, bytes: number, free: number): string {
    const kib = (n: number): string => `${Math.floor(n / 1024)} KiB`;
    return `too little shared memory: ${path} needs ${kib(bytes)}, ${kib(free)} are available; enlarge /dev/shm or set GRANTLINE_DIR`;
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

function freeIn(dir: string): number {
  const { bavail, bsize } = statfsSync(dir);
  return bavail * bsize;
}
