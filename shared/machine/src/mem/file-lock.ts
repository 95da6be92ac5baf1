/** A file that says who works here. The proof that its writer still does is a lock, which the kernel lets go of when its holder dies: a
 *  pid may be somebody else's by then, and says nothing between containers, each of which has its own numbers. */
import { closeSync, fstatSync, ftruncateSync, lstatSync, readFileSync, unlinkSync, writeSync } from 'node:fs';
import { libc } from './libc.js';
import { openOwnFile } from '@grantline/base';

const flock = libc.func('int flock(int fd, int operation)');
const LOCK_EX = 2;
const LOCK_NB = 4;

export class FileLock {
  readonly path: string;
  private readonly fd: number;
  private held = true;

  private constructor(path: string, fd: number) {
    this.path = path;
    this.fd = fd;
  }

  /** Nobody but its user may open the file: who can, to read alone, can lock it and keep the next one out.
   *  @returns the lock, or what its holder wrote. @throws NotOursError, Error of the system */
  static take(path: string): FileLock | string {
    for (;;) {
      const fd = openOwnFile(path, 0o600);
      if (!lockFile(fd)) {
        const text = readFileSync(fd, 'utf8');
        closeSync(fd);
        return text;
      }
      // A predecessor that was just ending may have removed the file between the two steps: then this lock is of no file.
      if (lstatSync(path, { throwIfNoEntry: false })?.ino === fstatSync(fd).ino) return new FileLock(path, fd);
      closeSync(fd);
    }
  }

  /** Replaces the text. */
  write(text: string): void {
    ftruncateSync(this.fd, 0);
    writeSync(this.fd, text, 0);
  }

  /** Gives the lock back. @param remove the file, too */
  release(remove: boolean): void {
    if (!this.held) return;
    this.held = false;
    // Under the lock, and only the file that is locked: it is ours then, and nobody else's.
    if (remove && lstatSync(this.path, { throwIfNoEntry: false })?.ino === fstatSync(this.fd).ino)
      unlinkSync(this.path);
    closeSync(this.fd);
  }
}

/** Locks an open file until it is closed, also by the death of the process; containers on one kernel see the same lock.
 *  @returns false when somebody else has it */
function lockFile(fd: number): boolean {
  return (flock(fd, LOCK_EX | LOCK_NB) as number) === 0;
}
