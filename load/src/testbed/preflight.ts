/** What must be true before anything is started; each lack is one line. */
import { lookup } from 'node:dns/promises';
import { createServer } from 'node:net';
import { availableMemory, NotOursError, openOwnDir } from '@grantline/base';
import { UserError } from '../base/errors.js';

const PAGE_BYTES = 4096;
/** docs/wire/control-plane.md, section 2. */
const GUEST_PAGES = 1024;
const DRIVER_DOMAIN_PAGES = 4096;
const NIC_PAGES = 16;
/** Counter files, event-channel pages, the DMA table: measured generously, per domain. */
const REST_PAGES = 128;

/** Bytes of shared memory that a testbed of that many guests can come to use. */
export function neededBytes(guests: number): number {
  return PAGE_BYTES * (guests * (GUEST_PAGES + REST_PAGES) + DRIVER_DOMAIN_PAGES + NIC_PAGES + 4 * REST_PAGES);
}

const mib = (bytes: number): string => `${Math.ceil(bytes / 1048576)} MiB`;

/** @throws UserError when the guests' memory does not fit */
export function checkSpace(guests: number, free = availableMemory()): void {
  const needed = neededBytes(guests);
  if (free >= needed) return;
  throw new UserError(
    `${guests === 1 ? '1 guest needs' : `${guests} guests need`} ${mib(needed)} of shared memory and ${mib(free)} are available`,
    `${guests === 1 ? '' : 'take fewer guests, '}free some memory, or raise the limit (docker run --memory)`,
  );
}

/** Makes the testbed's directory, or takes one of ours that is empty. @throws UserError, NotOursError */
export function makeDir(dir: string): void {
  try {
    openOwnDir(dir, 0o700);
  } catch (error) {
    if (error instanceof NotOursError) throw error;
    throw new UserError(
      `cannot make ${dir}: ${(error as NodeJS.ErrnoException).code ?? String(error)}`,
      'choose another directory with --dir',
    );
  }
}

/** @param option with which the user named it
 *  @throws UserError when the address cannot be listened on. Port 0 always can. */
export async function checkPort(host: string, port: number, option = '--listen'): Promise<void> {
  if (port > 65535) throw new UserError(`there is no port ${port}`, `choose a smaller one with ${option} HOST:PORT`);
  const server = createServer();
  try {
    await new Promise<void>((done, fail) => {
      server.once('error', fail);
      server.listen({ host, port, exclusive: true }, done);
    });
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'EADDRINUSE')
      throw new UserError(
        `port ${port} on ${host} is in use`,
        `stop what uses it, or choose another with ${option} HOST:PORT`,
      );
    throw new UserError(
      `cannot listen on ${host}:${port} (${code})`,
      `choose another address with ${option} HOST:PORT`,
    );
  } finally {
    server.close();
  }
}

/** @returns the address that a host's name stands for. @throws UserError when it stands for none */
export async function resolved(host: string, option = '--listen'): Promise<string> {
  try {
    return (await lookup(host)).address;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new UserError(`cannot listen on ${host} (${code})`, `choose another address with ${option} HOST:PORT`);
  }
}
