/** testbed.json: written by the supervisor, read by every command. The supervisor keeps it open for as long as it lives: that, and not
 *  a number in it, says whose testbed it is (proc.ts). */
import { closeSync, linkSync, renameSync, unlinkSync, writeSync } from 'node:fs';
import { isIP } from 'node:net';
import { hostname, networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { createFile, giveFile } from '@grantline/base';
import { Type, type Static } from '@sinclair/typebox';
import { Value } from '@sinclair/typebox/value';
import { UserError } from '../base/errors.js';

export const TESTBED_FILE = 'testbed.json';

const schema = Type.Object(
  {
    schema: Type.Literal('grantline.testbed/1'),
    /** The supervising process, and when it started (clock ticks since boot). */
    pid: Type.Integer({ minimum: 2, maximum: 2 ** 31 - 1 }),
    startTime: Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER }),
    /** http://host:port of the hypervisor; null while it starts. */
    hypervisor: Type.Union([Type.String({ maxLength: 300 }), Type.Null()]),
    /** File with the operator's token: DIR/token. */
    token: Type.String({ maxLength: 4096 }),
    /** `up`: anybody may use it. `own`: it belongs to the one command that started it. */
    use: Type.Union([Type.Literal('up'), Type.Literal('own')]),
    /** Guests whose stack is a kernel's, behind a TAP device: they take part in no measured run. */
    kernelGuests: Type.Optional(Type.Array(Type.Integer({ minimum: 1, maximum: 1000 }), { maxItems: 1000 })),
    /** Where its data threads run; not in files of before it was recorded. */
    placement: Type.Optional(Type.Union([Type.Literal('together'), Type.Literal('apart'), Type.Literal('none')])),
    /** http://host:port/ of the live page, if there is one. */
    page: Type.Optional(Type.String({ maxLength: 300 })),
  },
  { additionalProperties: false },
);
export type TestbedFile = Static<typeof schema>;

/** Where the operator's token lies. */
export const tokenFile = (dir: string): string => join(dir, 'token');

/** @throws UserError when it is not what a supervisor writes */
export function parseTestbedFile(dir: string, text: string): TestbedFile {
  const wrong = (what: string): UserError =>
    new UserError(
      `${join(dir, TESTBED_FILE)} is not what a testbed writes (${what})`,
      'nothing was ended or read; see who wrote it, and remove the directory by hand',
    );
  let file: unknown;
  try {
    file = JSON.parse(text);
  } catch {
    throw wrong('no JSON');
  }
  if (!Value.Check(schema, file)) {
    const first = Value.Errors(schema, file).First();
    throw wrong(first === undefined ? 'its form' : `${first.path.slice(1) || 'its form'}: ${first.message}`);
  }
  if (file.token !== tokenFile(dir)) throw wrong('token: another file');
  if (file.hypervisor !== null && !isHere(file.hypervisor)) throw wrong('hypervisor: no address of this machine');
  if (file.page !== undefined && !isHere(file.page)) throw wrong('page: no address of this machine');
  return file;
}

/** Who is told the token must be here. */
function isHere(address: string): boolean {
  const url = URL.canParse(address) ? new URL(address) : null;
  if (url === null || url.protocol !== 'http:' || url.username !== '' || url.pathname !== '/' || url.search !== '')
    return false;
  const host = url.hostname.replace(/^\[|\]$/g, '');
  if (isIP(host) === 0) return host === 'localhost' || host === hostname().toLowerCase();
  if (/^127\./.test(host) || host === '::1' || host === '0.0.0.0' || host === '::') return true;
  return Object.values(networkInterfaces()).some((list) => list?.some((i) => i.address === host));
}

/** A file that is being written, before it has its name. */
const draftOf = (dir: string): string => join(dir, `${TESTBED_FILE}.${process.pid}`);
export const isDraft = (name: string): boolean => /^testbed\.json\.\d+$/.test(name);

/** The testbed's file as its supervisor has it: open. */
export class TestbedRecord {
  private readonly dir: string;
  private fd: number;

  private constructor(dir: string, fd: number) {
    this.dir = dir;
    this.fd = fd;
  }

  /** Takes the directory: of two commands that start at once, one gets it. @throws UserError for the other */
  static claim(dir: string, file: TestbedFile): TestbedRecord {
    let fd = -1;
    try {
      fd = draft(dir, file);
      // Whole from its first moment, and not over another's.
      linkSync(draftOf(dir), join(dir, TESTBED_FILE));
      unlinkSync(draftOf(dir));
      return new TestbedRecord(dir, fd);
    } catch (error) {
      if (fd >= 0) {
        closeSync(fd);
        unlinkSync(draftOf(dir));
      }
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'EEXIST')
        throw new UserError(
          `a testbed is just being started in ${dir}`,
          'wait until it has ended, or choose another directory with --dir',
        );
      throw new UserError(`cannot write in ${dir} (${code})`, 'choose another directory with --dir');
    }
  }

  write(file: TestbedFile): void {
    const before = this.fd;
    this.fd = draft(this.dir, file);
    renameSync(draftOf(this.dir), join(this.dir, TESTBED_FILE));
    closeSync(before);
  }

  close(): void {
    if (this.fd >= 0) closeSync(this.fd);
    this.fd = -1;
  }
}

/** @returns the descriptor of the draft */
function draft(dir: string, file: TestbedFile): number {
  const fd = createFile(draftOf(dir));
  writeSync(fd, `${JSON.stringify(file, null, 2)}\n`);
  giveFile(fd, { uid: -1, gid: -1, mode: 0o644 });
  return fd;
}
