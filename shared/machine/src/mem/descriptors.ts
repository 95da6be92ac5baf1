/** Descriptors from one process to another, for tickets: a socket file where a caller with a ticket gets the descriptor
 *  that it is good for, and everybody else nothing. docs/wire/control-plane.md section 3.
 *
 *      connect; send the 16 bytes of the ticket; receive one byte with one descriptor (SCM_RIGHTS), then the end
 *
 *  Or the other way round: a caller that sends a descriptor with 16 bytes of its own choice shows it, under that name, and gets the end.
 *
 *  Raw calls on both sides: Node reads the bytes of such a message and lets the descriptor drop.
 *  Sources: man 7 unix, man 3 cmsg; the layouts are those of 64-bit Linux. */
import { nowNs } from '@grantline/base';
import { closeSync, rmSync } from 'node:fs';
import koffi from 'koffi';
import { DescriptorWatch, addressOf, libc, socket } from './libc.js';

const bind = libc.func('int bind(int fd, void *addr, unsigned int len)');
const connect = libc.func('int connect(int fd, void *addr, unsigned int len)');
const listen = libc.func('int listen(int fd, int backlog)');
const accept4 = libc.func('int accept4(int fd, void *addr, void *len, int flags)');
const send = libc.func('int64_t send(int fd, void *buf, size_t len, int flags)');
const sendmsg = libc.func('int64_t sendmsg(int fd, void *msg, int flags)');
const recvmsg = libc.func('int64_t recvmsg(int fd, void *msg, int flags)');

const AF_UNIX = 1;
const SOCK_STREAM = 1;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
const MSG_CMSG_CLOEXEC = 0x40000000;
const EAGAIN = 11;
const SUN_PATH_BYTES = 108;

const TICKET_BYTES = 16;

/** How long a caller may take to say what it wants. */
const PATIENCE_MS = 1000;
/** Callers that have said nothing yet; the longest silent one makes room for the next. */
const SILENT_MAX = 32;
const BACKLOG = 128;
/** Callers heard in a turn, and the pause after a turn in which one had no good ticket: who calls in a loop has little of
 *  this process, and those who have a ticket wait a few milliseconds at most. */
const TURN = 8;
const PAUSE_MS = 1;
/** Pause after a call that could not be taken: descriptors may have run out. */
const LONG_PAUSE_MS = 100;

/** One message of some bytes and one descriptor at most: the kernel drops what there is no room for. */
class Message {
  readonly bytes: Buffer;
  readonly header: ArrayBuffer;
  /** What is sent or has come. */
  readonly data: Buffer;

  constructor(size: number) {
    // msghdr at 0 (56 bytes), iovec at 64, control at 96 (cmsghdr and one int: 20 of 24 bytes), data at 128.
    this.header = new ArrayBuffer(256);
    this.bytes = Buffer.from(this.header);
    const at = addressOf(this.header);
    this.bytes.writeBigUInt64LE(at + 64n, 16);
    this.bytes.writeBigUInt64LE(1n, 24);
    this.bytes.writeBigUInt64LE(at + 96n, 32);
    this.bytes.writeBigUInt64LE(at + 128n, 64);
    this.bytes.writeBigUInt64LE(BigInt(size), 72);
    this.data = this.bytes.subarray(128, 128 + size);
  }

  put(fd: number): void {
    this.bytes.writeBigUInt64LE(24n, 40);
    this.bytes.writeBigUInt64LE(20n, 96);
    this.bytes.writeInt32LE(SOL_SOCKET, 104);
    this.bytes.writeInt32LE(SCM_RIGHTS, 108);
    this.bytes.writeInt32LE(fd, 112);
  }

  empty(): void {
    this.bytes.fill(0, 96, 120);
    this.bytes.writeBigUInt64LE(20n, 40);
  }

  /** @returns the descriptor, or -1 when none came */
  get fd(): number {
    const came = this.bytes.readBigUInt64LE(40) >= 20n && this.bytes.readBigUInt64LE(96) === 20n;
    const rights = this.bytes.readInt32LE(104) === SOL_SOCKET && this.bytes.readInt32LE(108) === SCM_RIGHTS;
    return came && rights ? this.bytes.readInt32LE(112) : -1;
  }
}

const message = new Message(1);

function addressAt(path: string): Buffer {
  const name = Buffer.from(path);
  if (name.length >= SUN_PATH_BYTES) throw new Error(`${path} is too long for a socket`);
  const address = Buffer.alloc(2 + SUN_PATH_BYTES);
  address.writeUInt16LE(AF_UNIX, 0);
  name.copy(address, 2);
  return address;
}

function makeSocket(): number {
  const fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0) as number;
  if (fd < 0) throw new Error(`socket failed with errno ${koffi.errno()}`);
  return fd;
}

interface Silent {
  watch: DescriptorWatch;
  timer: NodeJS.Timeout;
}

/** The side that hands out. */
export class DescriptorDoor {
  private readonly path: string;
  private readonly onTicket: (ticket: string) => number | null;
  private readonly onShown: (name: string, fd: number) => void;
  private readonly fd: number;
  private readonly watch: DescriptorWatch;
  private readonly silent = new Map<number, Silent>();
  private readonly heard = new Message(TICKET_BYTES + 1);
  private pause: NodeJS.Timeout | null = null;
  private closed = false;

  /** @param path where the socket file is made; it must not be there
   *  @param onTicket gets 32 hexadecimal digits; returns a descriptor, which is closed here once it has been sent, or null
   *  @param onShown gets what somebody shows, and under which name: 32 hexadecimal digits; closed here afterwards */
  constructor(
    path: string,
    onTicket: (ticket: string) => number | null,
    onShown: (name: string, fd: number) => void = () => {},
  ) {
    this.path = path;
    this.onTicket = onTicket;
    this.onShown = onShown;
    this.fd = makeSocket();
    const address = addressAt(path);
    if ((bind(this.fd, address, address.length) as number) !== 0 || (listen(this.fd, BACKLOG) as number) !== 0) {
      const errno = koffi.errno();
      closeSync(this.fd);
      throw new Error(`cannot listen at ${path}: errno ${errno}`);
    }
    this.watch = new DescriptorWatch(this.fd, () => this.turn());
  }

  /** Callers that are connected and have said nothing. */
  get waiting(): number {
    return this.silent.size;
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    if (this.pause !== null) clearTimeout(this.pause);
    this.watch.close();
    closeSync(this.fd);
    for (const caller of [...this.silent.keys()]) this.hangUp(caller);
    rmSync(this.path, { force: true });
  }

  private turn(): void {
    let pauseMs = 0;
    for (let n = 0; n < TURN; n++) {
      const caller = accept4(this.fd, null, null, SOCK_NONBLOCK | SOCK_CLOEXEC) as number;
      if (caller < 0) {
        if (koffi.errno() !== EAGAIN) pauseMs = LONG_PAUSE_MS;
        break;
      }
      // Who has a ticket sends it at once: mostly it is there already.
      if (!this.listenTo(caller)) pauseMs = PAUSE_MS;
    }
    if (pauseMs === 0 || this.closed) return;
    this.watch.stop();
    this.pause = setTimeout(() => this.watch.start(), pauseMs);
  }

  /** @returns true when the caller got what it came for */
  private listenTo(caller: number): boolean {
    this.heard.empty();
    const n = Number(recvmsg(caller, this.heard.header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC));
    if (n < 0 && koffi.errno() === EAGAIN) {
      this.wait(caller);
      return false;
    }
    const shown = n > 0 ? this.heard.fd : -1;
    const text = this.heard.data.toString('hex', 0, TICKET_BYTES);
    const given = n === TICKET_BYTES && shown < 0 && this.give(caller, text);
    if (shown >= 0) {
      if (n === TICKET_BYTES) this.onShown(text, shown);
      closeSync(shown);
    }
    this.hangUp(caller);
    return given;
  }

  private give(caller: number, ticket: string): boolean {
    const fd = this.onTicket(ticket);
    if (fd === null) return false;
    message.put(fd);
    // The caller's end has room for one byte; if it has gone, so be it.
    const sent = Number(sendmsg(caller, message.header, MSG_DONTWAIT | MSG_NOSIGNAL)) === 1;
    closeSync(fd);
    return sent;
  }

  private wait(caller: number): void {
    if (this.silent.has(caller)) return;
    if (this.silent.size === SILENT_MAX) this.hangUp(this.silent.keys().next().value!);
    const watch = new DescriptorWatch(caller, () => void this.listenTo(caller));
    this.silent.set(caller, { watch, timer: setTimeout(() => this.hangUp(caller), PATIENCE_MS) });
  }

  private hangUp(caller: number): void {
    const silent = this.silent.get(caller);
    this.silent.delete(caller);
    silent?.watch.close();
    if (silent !== undefined) clearTimeout(silent.timer);
    closeSync(caller);
  }
}

/** The other end took the ticket for nothing, or hung up for want of room. */
export class NoDescriptor extends Error {
  override readonly name = 'NoDescriptor';
}

const RETRY_MS = 5;
const ANSWER_LIMIT_MS = 10_000;

/** Presents a ticket. @returns the descriptor, to be closed by the caller
 *  @throws NoDescriptor when the ticket is not good (any more); Error with a code, ENOENT or ECONNREFUSED when nobody is there */
export function fetchDescriptor(path: string, ticket: string): Promise<number> {
  const say = (fd: number): unknown => send(fd, Buffer.from(ticket, 'hex'), TICKET_BYTES, MSG_DONTWAIT | MSG_NOSIGNAL);
  return call(path, say, (fd, resolve, reject) => {
    message.empty();
    const n = Number(recvmsg(fd, message.header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC));
    if (n < 0 && koffi.errno() === EAGAIN) return;
    const got = n === 1 ? message.fd : -1;
    if (got >= 0) resolve(got);
    else reject(new NoDescriptor('the ticket was not taken'));
  });
}

/** Shows a descriptor, which stays open. @param name 32 hexadecimal digits. Returns when it has been seen
 *  @throws as fetchDescriptor */
export function showDescriptor(path: string, name: string, shown: number): Promise<void> {
  const showing = new Message(TICKET_BYTES);
  showing.data.write(name, 'hex');
  showing.put(shown);
  const say = (fd: number): unknown => sendmsg(fd, showing.header, MSG_DONTWAIT | MSG_NOSIGNAL);
  return call<void>(path, say, (_fd, resolve) => resolve());
}

/** One call: connects, says it, and hears what comes until that is an answer. */
async function call<T>(
  path: string,
  say: (fd: number) => unknown,
  hear: (fd: number, resolve: (answer: T) => void, reject: (why: Error) => void) => void,
): Promise<T> {
  const fd = await dial(path, nowNs() + ANSWER_LIMIT_MS * 1e6);
  let watch: DescriptorWatch | null = null;
  let timer: NodeJS.Timeout | undefined;
  try {
    say(fd);
    return await new Promise<T>((resolve, reject) => {
      timer = setTimeout(() => reject(new NoDescriptor(`nobody answers at ${path}`)), ANSWER_LIMIT_MS);
      watch = new DescriptorWatch(fd, () => hear(fd, resolve, reject));
    });
  } finally {
    clearTimeout(timer);
    (watch as DescriptorWatch | null)?.close();
    closeSync(fd);
  }
}

const ERRNO: Record<number, string> = { 2: 'ENOENT', 13: 'EACCES', 111: 'ECONNREFUSED' };

/** As long as the queue of callers is full the kernel says EAGAIN. */
async function dial(path: string, endNs: number): Promise<number> {
  const address = addressAt(path);
  for (;;) {
    const fd = makeSocket();
    if ((connect(fd, address, address.length) as number) === 0) return fd;
    const errno = koffi.errno();
    closeSync(fd);
    if (errno !== EAGAIN || nowNs() > endNs)
      throw Object.assign(new Error(`cannot connect to ${path}: errno ${errno}`), {
        code: ERRNO[errno] ?? `errno ${errno}`,
        path,
      });
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
}
