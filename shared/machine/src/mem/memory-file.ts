/** Shared memory without a name: a memfd, which every holder of its descriptor may map. Its size is sealed. On tmpfs who may
 *  write a file may also shorten it, and a process that then touches a missing page is ended by SIGBUS, or lengthen it until
 *  the file system is full. docs/adr/0020. Sources: man 2 memfd_create, man 2 fcntl (File Sealing). */
import { closeSync, fchmodSync, ftruncateSync } from 'node:fs';
import koffi from 'koffi';
import { fcntl, libc } from './libc.js';

const memfdCreate = libc.func('int memfd_create(const char *name, unsigned int flags)');
const fallocate = libc.func('int posix_fallocate(int fd, int64_t offset, int64_t len)');

const MFD_CLOEXEC = 1;
const MFD_ALLOW_SEALING = 2;
/** Linux 6.3: without it the kernel warns, or refuses where `vm.memfd_noexec` says so. */
const MFD_NOEXEC_SEAL = 8;
const F_ADD_SEALS = 1033;
const F_SEAL_SEAL = 1;
const F_SEAL_SHRINK = 2;
const F_SEAL_GROW = 4;
const F_SEAL_FUTURE_WRITE = 16;

const ENOMEM = 12;
const ENOSPC = 28;

/** Makes `bytes` of zeros, all reserved now; nobody can change the size any more, the maker neither.
 *  @param name what /proc/PID/maps shows
 *  @returns a descriptor, to be closed by the caller. What is passed to other users cannot be opened anew by them with more
 *  rights than the descriptor has: the file's mode is 0600
 *  @throws Error with ENOSPC in its message when memory is short */
export function makeMemory(name: string, bytes: number): number {
  let fd = memfdCreate(`grantline:${name}`, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL) as number;
  if (fd < 0) fd = memfdCreate(`grantline:${name}`, MFD_CLOEXEC | MFD_ALLOW_SEALING) as number;
  if (fd < 0) throw new Error(`memfd_create failed with errno ${koffi.errno()}`);
  try {
    fchmodSync(fd, 0o600);
    ftruncateSync(fd, bytes);
    reserveFile(fd, bytes);
    addSeals(fd, F_SEAL_SHRINK | F_SEAL_GROW);
  } catch (error) {
    closeSync(fd);
    throw error;
  }
  return fd;
}

/** Nobody seals anything more. */
export function sealSeals(fd: number): void {
  addSeals(fd, F_SEAL_SEAL);
}

/** From now on it can be written through mappings that there are already, and in no other way: for what all others only
 *  read, once its writer has mapped it. */
export function sealWrites(fd: number): void {
  addSeals(fd, F_SEAL_FUTURE_WRITE | F_SEAL_SEAL);
}

function addSeals(fd: number, seals: number): void {
  if ((fcntl(fd, F_ADD_SEALS, seals) as number) !== 0)
    throw new Error(`fcntl F_ADD_SEALS failed with errno ${koffi.errno()}`);
}

/** Reserves a file's pages in memory now, so that a lack of memory is an error here and not a SIGBUS later.
 *  @throws Error with code ENOSPC in its message when the space is not there */
function reserveFile(fd: number, length: number): void {
  const errno = fallocate(fd, 0n, BigInt(length)) as number;
  if (errno !== 0)
    throw new Error(
      errno === ENOSPC || errno === ENOMEM
        ? 'ENOSPC: there is no memory for it'
        : `posix_fallocate failed with errno ${errno}`,
    );
}
