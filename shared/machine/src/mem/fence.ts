/** A pipe by which a process can be ended for certain, also one that is stopped, of another user or in a container: the kernel kills it when
 *  the other end writes, and tells the other end when it is gone. Sources: man 2 fcntl, F_SETSIG and O_ASYNC; man 2 poll. */
import { closeSync, constants, openSync } from 'node:fs';
import koffi from 'koffi';
import { BROKEN, makePipe, pokeFd, READABLE, waitReadable } from './libc.js';

const fcntl = koffi.load('libc.so.6').func('int fcntl(int fd, int cmd, long arg)');

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

/** The side that may end the other. */
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
