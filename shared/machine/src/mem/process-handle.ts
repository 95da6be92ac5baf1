/** Holding on to another process: by a descriptor that stays the same one's, or by a fence that it stands behind. Sources:
 *  man 2 pidfd_open; man 2 fcntl, F_SETSIG and O_ASYNC; man 2 poll. */
import { closeSync, constants, openSync } from 'node:fs';
import { constants as os } from 'node:os';
import koffi from 'koffi';
import { BROKEN, READABLE, fcntl, libc, makePipe, pokeFd, waitReadable } from './libc.js';

const syscall = libc.func('int64_t syscall(int64_t n, int64_t a, int64_t b, int64_t c, int64_t d)');

/** Newer than the split of system calls by architecture: everywhere the same. */
const SYS_PIDFD_SEND_SIGNAL = 424;
const SYS_PIDFD_OPEN = 434;
const ESRCH = os.errno.ESRCH;
const EPERM = os.errno.EPERM;

/** A process that stays the same one: its number may be given to another once it has ended, a descriptor of it is not.
 *  Kernels before 5.3 have no such descriptors: there the number has to do. */
export class ProcessHandle {
  readonly pid: number;
  private readonly fd: number;

  private constructor(pid: number, fd: number) {
    this.pid = pid;
    this.fd = fd;
  }

  /** What /proc says of this number after the call is about the process that is meant, or `signal` reaches nobody.
   *  @param pid of one process: more than 1. @returns null when there is none of that number */
  static open(pid: number): ProcessHandle | null {
    if (!Number.isSafeInteger(pid) || pid <= 1 || pid > 0x7fffffff) return null;
    const fd = Number(syscall(SYS_PIDFD_OPEN, pid, 0, 0, 0));
    if (fd < 0 && koffi.errno() === ESRCH) return null;
    return new ProcessHandle(pid, fd);
  }

  /** @returns 'gone' when it has ended, 'refused' when it is not ours to signal */
  signal(name: NodeJS.Signals): 'sent' | 'gone' | 'refused' {
    if (this.fd < 0) return killByNumber(this.pid, name);
    if (Number(syscall(SYS_PIDFD_SEND_SIGNAL, this.fd, os.signals[name], 0, 0)) === 0) return 'sent';
    const errno = koffi.errno();
    if (errno === EPERM) return 'refused';
    return 'gone';
  }

  close(): void {
    if (this.fd >= 0) closeSync(this.fd);
  }
}

function killByNumber(pid: number, name: NodeJS.Signals): 'sent' | 'gone' | 'refused' {
  try {
    process.kill(pid, name);
    return 'sent';
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM' ? 'refused' : 'gone';
  }
}

const F_SETFL = 4;
const F_SETOWN = 8;
const F_SETSIG = 10;
const O_ASYNC = 0o20000;
const SIGKILL = 9;

/** From now on a write to the other end ends this process. @param fd that the holder of a Fence handed out; to be kept open */
export function standBehind(fd: number): void {
  if (
    (fcntl(fd, F_SETOWN, process.pid) as number) !== 0 ||
    (fcntl(fd, F_SETSIG, SIGKILL) as number) !== 0 ||
    (fcntl(fd, F_SETFL, constants.O_NONBLOCK | O_ASYNC) as number) !== 0
  )
    throw new Error(`fcntl failed with errno ${koffi.errno()}`);
  // It was written to before.
  if ((waitReadable(fd, -1, 0) & READABLE) !== 0) process.kill(process.pid, 'SIGKILL');
}

/** A pipe by which a process can be ended for certain, also one that is stopped, of another user or in a container: the kernel kills it
 *  when the other end writes, and tells the other end when it is gone. This is the side that may end the other. */
export class Fence {
  private readonly pipe = makePipe();
  private handedOut = false;

  /** Once. @returns a descriptor for the process that is to stand behind it, or null when there is one already */
  handOut(): number | null {
    if (this.handedOut) return null;
    this.handedOut = true;
    const fd = openSync(`/proc/self/fd/${this.pipe.reads}`, constants.O_RDWR | constants.O_NONBLOCK);
    // Ours would hide that the other's is closed.
    closeSync(this.pipe.reads);
    return fd;
  }

  /** Nobody stands behind it, or not any more. */
  get gone(): boolean {
    return !this.handedOut || (waitReadable(this.pipe.writes, -1, 0) & BROKEN) !== 0;
  }

  /** Ends who stands behind it; `gone` tells when that is done. */
  ring(): void {
    pokeFd(this.pipe.writes);
  }

  /** To be called once it is gone. */
  close(): void {
    if (!this.handedOut) closeSync(this.pipe.reads);
    closeSync(this.pipe.writes);
  }
}
