/** A process that stays the same one: its number may be given to another once it has ended, a descriptor of it is not.
 *  Kernels before 5.3 have no such descriptors: there the number has to do. */
import { closeSync } from 'node:fs';
import { constants } from 'node:os';
import koffi from 'koffi';

const libc = koffi.load('libc.so.6');
const syscall = libc.func('int64_t syscall(int64_t n, int64_t a, int64_t b, int64_t c, int64_t d)');

/** Newer than the split of system calls by architecture: everywhere the same. */
const SYS_PIDFD_SEND_SIGNAL = 424;
const SYS_PIDFD_OPEN = 434;
const ESRCH = constants.errno.ESRCH;
const EPERM = constants.errno.EPERM;

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
    if (Number(syscall(SYS_PIDFD_SEND_SIGNAL, this.fd, constants.signals[name], 0, 0)) === 0) return 'sent';
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
