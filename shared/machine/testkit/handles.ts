/** What tests of shared memory need: descriptors, doorbells, a directory, and waiting. */
import { closeSync, constants, mkdtempSync, openSync } from 'node:fs';
import { makePipe } from '../src/mem/libc.js';

/** A descriptor of its own of the same file or pipe. */
export const anew = (fd: number, flags: string | number = 'r+'): number => openSync(`/proc/self/fd/${fd}`, flags);

/** A doorbell for tests: both ends of a pipe. */
export class Bell {
  private readonly pipe = makePipe();

  /** For its owner. */
  get hears(): number {
    return anew(this.pipe.writes, constants.O_RDWR | constants.O_NONBLOCK);
  }

  /** For its peers. */
  get rings(): number {
    return anew(this.pipe.writes, constants.O_WRONLY | constants.O_NONBLOCK);
  }

  close(): void {
    closeSync(this.pipe.reads);
    closeSync(this.pipe.writes);
  }
}

/** A directory on tmpfs, named after this process. */
export function testDir(): string {
  return mkdtempSync(`/dev/shm/grantline-test-${process.pid}-`);
}

/** An error that the fake hands out as a refusal. */
export function refuse(code: string): Error {
  return Object.assign(new Error(`refused with ${code}`), { code });
}

/** Lets sockets and timers have some turns until `ok`, or fails after a minute, which a busy machine needs. */
export async function until(ok: () => boolean): Promise<void> {
  for (const end = Date.now() + 60_000; Date.now() < end;) {
    if (ok()) return;
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  throw new Error('it did not happen');
}
