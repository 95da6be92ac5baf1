/** The C library calls of which several have use; each other one is beside its user. Only this folder imports koffi (checked by the
 *  architecture test). */
import koffi from 'koffi';

export const libc = koffi.load('libc.so.6');

const mmap = libc.func('void *mmap(void *addr, size_t length, int prot, int flags, int fd, int64_t offset)');
const memset = libc.func('void *memset(void *s, int c, size_t n)');
const pipe2 = libc.func('int pipe2(void *fds, int flags)');
const ppoll = libc.func('int ppoll(void *fds, unsigned long nfds, void *timeout, void *sigmask)');
const read = libc.func('int64_t read(int fd, void *buf, size_t count)');
const write = libc.func('int64_t write(int fd, void *buf, size_t count)');
const clockGettime = libc.func('int clock_gettime(int clock, void *ts)');
const prctl = libc.func('int prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d)');
const schedYield = libc.func('int sched_yield()');
const setpgid = libc.func('int setpgid(int pid, int pgid)');
export const fcntl = libc.func('int fcntl(int fd, int cmd, long arg)');
export const socket = libc.func('int socket(int domain, int type, int protocol)');
const setaffinity = libc.func('int sched_setaffinity(int pid, size_t len, void *mask)');

export const PROT_NONE = 0;
export const PROT_READ = 1;
export const PROT_WRITE = 2;
export const MAP_SHARED = 0x01;
export const MAP_PRIVATE = 0x02;
export const MAP_FIXED = 0x10;
export const MAP_ANONYMOUS = 0x20;
export const MAP_NORESERVE = 0x4000;
export const MAP_POPULATE = 0x8000;

const MAP_FAILED = 0xffffffffffffffffn;

/** An address in this process. koffi hands pointers out as BigInt, some small integers as Number: always BigInt here. */
export type Address = bigint;

/** Maps `length` bytes. @throws Error with the errno when the kernel refuses */
export function mapPages(
  at: Address,
  length: number,
  prot: number,
  flags: number,
  fd: number,
  offset: number,
): Address {
  const got = BigInt(mmap(at === 0n ? null : at, length, prot, flags, fd, BigInt(offset)) as bigint | number);
  if (got === MAP_FAILED) throw new Error(`mmap of ${length} bytes failed with errno ${koffi.errno()}`);
  return got;
}

/** Where a buffer's bytes lie; only for one that the engine never moves, as a WebAssembly memory's. */
export function addressOf(buffer: ArrayBuffer): Address {
  // Setting no bytes: the call returns the address that it was given.
  return BigInt(memset(buffer, 0, 0) as bigint | number);
}

const O_NONBLOCK = 0o4000;
const O_CLOEXEC = 0o2000000;
/** A pipe that never blocks. @returns its two ends, to be closed by the caller */
export function makePipe(): { reads: number; writes: number } {
  const fds = Buffer.alloc(8);
  if ((pipe2(fds, O_NONBLOCK | O_CLOEXEC) as number) !== 0) throw new Error(`pipe2 failed with errno ${koffi.errno()}`);
  return { reads: fds.readInt32LE(0), writes: fds.readInt32LE(4) };
}

const POLLIN = 1;
const POLLERR = 8;
const POLLHUP = 16;
const POLLNVAL = 32;
/** What became of a descriptor: `waitReadable` has these of the first, and of the second two bits further up. */
export const READABLE = 1;
export const BROKEN = 2;
const pollFds = Buffer.alloc(24);
const pollTimeout = Buffer.alloc(16);
for (const at of [4, 12, 20]) pollFds.writeInt16LE(POLLIN, at);
/** Sleeps until one of some descriptors is readable or broken, or `timeoutUs` passed. A broken one - closed, its device gone - is
 *  never said to be readable: it would end every sleep at once, for ever, and whoever hears of it must not ask for it again.
 *  @param second, third -1: there is none
 *  @returns READABLE, BROKEN of the first; of the second 4 times that, of the third 16 times */
export function waitReadable(fd: number, second: number, timeoutUs: number, third = -1): number {
  pollFds.writeInt32LE(fd, 0);
  pollFds.writeInt32LE(second, 8);
  pollFds.writeInt32LE(third, 16);
  pollTimeout.writeInt32LE(Math.floor(timeoutUs / 1e6), 0);
  pollTimeout.writeInt32LE(Math.floor((timeoutUs % 1e6) * 1000), 8);
  // The kernel passes over negative descriptors.
  if ((ppoll(pollFds, third >= 0 ? 3 : second >= 0 ? 2 : 1, pollTimeout, null) as number) <= 0) return 0;
  const first = stateOf(pollFds.readInt16LE(6));
  if (second < 0 && third < 0) return first;
  const others = (second < 0 ? 0 : stateOf(pollFds.readInt16LE(14))) | (stateOf(pollFds.readInt16LE(22)) << 2);
  return first | (others << 2);
}

function stateOf(events: number): number {
  if ((events & (POLLERR | POLLNVAL)) !== 0) return BROKEN;
  // What was written before the other end went can still be read.
  if ((events & POLLIN) !== 0) return READABLE;
  return (events & POLLHUP) !== 0 ? BROKEN : 0;
}

// Node's executable shows libuv's own functions, which its manual has for loops that are part of another one.
const uv = ((): { fd: number; timeout: () => number } => {
  try {
    const node = koffi.load(null);
    const loop: unknown = node.func('void *uv_default_loop()')();
    const timeout = node.func('int uv_backend_timeout(void *loop)');
    return {
      fd: node.func('int uv_backend_fd(void *loop)')(loop) as number,
      timeout: () => timeout(loop) as number,
    };
  } catch {
    return { fd: -1, timeout: () => 0 };
  }
})();
/** Descriptor that is readable while the main thread's event loop has something to do that is not a timer's; -1: this Node does not show it. */
export const eventLoopFd = uv.fd;

/** Longest sleep beside the event loop, microseconds. Some releases of libuv learn of what other threads have done by an edge: what came
 *  together with our own ring is in none of its descriptors any more when we sleep.
 *  @param version of libuv */
export function longSleepUs(version: string): number {
  const [major, minor, patch] = version.split('.').map(Number);
  const isByEdge = major > 1 || minor >= 53 || (minor === 49 && patch < 2);
  // A timespec takes no Infinity.
  return isByEdge ? 100e3 : 3600e6;
}
/** How long the event loop would sleep now, microseconds; 0: it has something to do first; Infinity: until something comes. Source: libuv's manual,
 *  uv_backend_timeout. From a callback of a descriptor only: a callback of a timer or an immediate is something to do itself. */
export function eventLoopDueUs(): number {
  const ms = uv.timeout();
  return ms < 0 ? Infinity : ms * 1000;
}

/** As much as a pipe has room for, unless its writer makes it larger. */
const drainBuffer = Buffer.alloc(64 << 10);
/** Empties a non-blocking FIFO. Once and no loop: who writes without end would keep us here for ever. What is left makes the next look
 *  find it readable. */
export function drainFd(fd: number): void {
  read(fd, drainBuffer, drainBuffer.length);
}

const oneByte = Buffer.from([1]);
/** Writes one byte to a non-blocking FIFO; a full FIFO has been rung already, so its refusal is no error. */
export function pokeFd(fd: number): void {
  write(fd, oneByte, 1);
}

const timespec = Buffer.alloc(16);
const CLOCK_THREAD_CPUTIME_ID = 3;
const CLOCK_PROCESS_CPUTIME_ID = 2;
/** Half a second goes in and out again, so that the engine never takes the sum for a small integer. CPU time would be one for its first two
 *  seconds, and what the data loop has compiled of it by then would be thrown away (docs/adr/0027). */
function clockNs(clock: number): number {
  clockGettime(clock, timespec);
  return (timespec.readUInt32LE(0) + 0.5) * 1e9 + (timespec.readUInt32LE(8) - 5e8);
}
/** CPU time of the calling thread, nanoseconds. Costs about half a microsecond: once per wake-up, not per batch. */
export const threadCpuNs = (): number => clockNs(CLOCK_THREAD_CPUTIME_ID);
/** CPU time of all threads of this process, nanoseconds. */
export const processCpuNs = (): number => clockNs(CLOCK_PROCESS_CPUTIME_ID);

/** Lets another runnable thread have this core. Returns at once when there is none. */
export function yieldCore(): void {
  schedYield();
}

/** Puts this process into a process group of its own, in the session that it is in: what a terminal sends with Ctrl-C or when it
 *  closes does not reach it, and the scheduler, which weighs sessions against each other, still takes it for one of its
 *  supervisor's (docs/adr/0012). */
export function leaveProcessGroup(): void {
  setpgid(0, 0);
}

const PR_SET_TIMERSLACK = 29;
/** Makes timed sleeps of this thread end when asked, not up to 50 us later. */
export function setTimerSlackNs(ns: number): void {
  prctl(PR_SET_TIMERSLACK, ns, 0, 0, 0);
}

/** Lets this thread, and what it starts from now on, run only on the given cores. @returns false when the kernel refuses */
export function runOnCores(cores: readonly number[]): boolean {
  const mask = Buffer.alloc(128);
  for (const core of cores) mask[core >> 3] |= 1 << (core & 7);
  return (setaffinity(0, mask.length, mask) as number) === 0;
}

/** Lets this thread run only on the given core. @returns false when the kernel refuses */
export const pinToCore = (core: number): boolean => runOnCores([core]);

/** Calls back from the event loop whenever a descriptor is readable, while switched on. */
export class DescriptorWatch {
  private readonly handle: ReturnType<typeof koffi.node.poll>;
  private readonly onReadable: () => void;
  private on = true;

  constructor(fd: number, onReadable: () => void) {
    this.onReadable = onReadable;
    this.handle = koffi.node.poll(fd, { readable: true }, onReadable);
  }

  start(): void {
    if (this.on) return;
    this.on = true;
    this.handle.start({ readable: true }, this.onReadable);
  }

  stop(): void {
    if (!this.on) return;
    this.on = false;
    this.handle.stop();
  }

  close(): void {
    this.on = false;
    this.handle.close();
  }
}
