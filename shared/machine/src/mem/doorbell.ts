/** A domain's doorbell: a pipe. Its owner reads, its peers write one byte; each has its descriptor from the hypervisor.
 *
 *  A pipe and not a futex in shared memory: whoever may wake a domain can do just that. With a shared futex word, a
 *  hostile peer could rewrite the word and so suppress the wake-ups of others. docs/adr/0005 has the measurements. */
import { closeSync } from 'node:fs';
import { BROKEN, READABLE, DescriptorWatch, drainFd, eventLoopFd, pokeFd, waitReadable } from './libc.js';

/** A descriptor that may end its owner's sleep beside the doorbell, as long as it is wanted: a TAP device. */
export class WakeSource {
  wanted = false;
  readonly fd: number;
  readonly onReadable: () => void;
  private readonly onBroken: () => void;
  private broken = false;
  private watch: DescriptorWatch | null = null;

  /** @param onBroken nothing will ever come from it again; called once */
  constructor(fd: number, onReadable: () => void, onBroken: () => void) {
    this.fd = fd;
    this.onReadable = onReadable;
    this.onBroken = onBroken;
  }

  /** Looks now. @returns false: it is broken */
  get stands(): boolean {
    if (!this.broken) this.heed(waitReadable(this.fd, -1, 0) & BROKEN);
    return !this.broken;
  }

  /** What a poll said of it. */
  heed(state: number): void {
    if (state === READABLE) return this.onReadable();
    if (state !== BROKEN || this.broken) return;
    this.broken = true;
    this.want(false);
    this.onBroken();
  }

  /** @param on false: it may be readable as long as it likes, nobody can take anything from it now */
  want(on: boolean): void {
    this.wanted = on && !this.broken;
    if (!this.wanted) this.watch?.stop();
    else if (this.watch !== null) this.watch.start();
    else {
      this.watch = new DescriptorWatch(this.fd, () => {
        // Once is enough: who reads asks again when there is nothing left.
        this.watch?.stop();
        this.heed(waitReadable(this.fd, -1, 0));
      });
    }
  }

  close(): void {
    this.wanted = false;
    this.watch?.close();
    this.watch = null;
  }
}

/** What ended a sleep. */
export const TIMED_OUT = 0;
export const RUNG = 1;
/** Nobody rang, and the event loop has something to do. */
export const EVENT_LOOP = 2;

/** The owner's end. */
export class Doorbell {
  /** At most one. */
  source: WakeSource | null = null;
  private readonly fd: number;
  private watch: DescriptorWatch | null = null;
  private onRing: (() => void) | null = null;

  /** @param fd the pipe, open for reading and writing: with no writer around it would else be "readable" (end of file) for
   *  ever. Closed with this */
  constructor(fd: number) {
    this.fd = fd;
  }

  /** Sleeps in the kernel. @param heedsLoop what comes for the event loop ends the sleep, too
   *  @returns RUNG, also where the source is readable; EVENT_LOOP; TIMED_OUT after `timeoutUs` */
  wait(timeoutUs: number, heedsLoop = false): number {
    const { source } = this;
    const second = source?.wanted === true ? source.fd : -1;
    const ready = waitReadable(this.fd, second, timeoutUs, heedsLoop ? eventLoopFd : -1);
    // Without its doorbell nobody can wake this service: it is over, and not to go round and round.
    if ((ready & BROKEN) !== 0) throw new Error('the doorbell is broken: its descriptor is closed');
    if ((ready & READABLE) !== 0) drainFd(this.fd);
    if (((ready >> 2) & 3) !== 0) source?.heed((ready >> 2) & 3);
    // The event loop watches doorbell and source itself, so what comes there makes it ready, too.
    return (ready & 15) !== 0 ? RUNG : ready !== 0 ? EVENT_LOOP : TIMED_OUT;
  }

  /** Whether something has come for the event loop, by its descriptor: not whether a timer is due. Rings that have come end here, as in
   *  `wait`: who asks takes the bits that they were for next. */
  isEventLoopDue(): boolean {
    // The event loop watches the doorbell, too.
    drainFd(this.fd);
    return waitReadable(eventLoopFd, -1, 0) !== 0;
  }

  /** Rings for itself: the event loop calls back when it has done what it had to. */
  knock(): void {
    pokeFd(this.fd);
  }

  /** From now on the event loop calls `onRing` at each ring, until unwatched. */
  startWatch(onRing: () => void): void {
    this.onRing = onRing;
    if (this.watch !== null) return this.watch.start();
    this.watch = new DescriptorWatch(this.fd, () => {
      drainFd(this.fd);
      this.onRing?.();
    });
  }

  stopWatch(): void {
    this.watch?.stop();
  }

  close(): void {
    this.watch?.close();
    this.source?.close();
    closeSync(this.fd);
  }
}

/** A peer's end: all that it can do is ring. */
export class Ringer {
  private readonly fd: number;

  /** @param fd the pipe, open for writing; closed with this */
  constructor(fd: number) {
    this.fd = fd;
  }

  ring(): void {
    pokeFd(this.fd);
  }

  close(): void {
    closeSync(this.fd);
  }
}
