/** The loop that a service's data path runs in: polls what has work, and sleeps in the kernel when nothing has.
 *
 *  Works as Linux's NAPI does: an event schedules its poller; a poller stays scheduled while it finds work; before it
 *  is taken off, it arms its event index and looks again (docs/adr/0005). Between work and sleep lies a short patience:
 *  under load a domain waits for its neighbours by giving the core away, not by sleeping, because falling asleep and
 *  waking cost as much as a hundred frames (docs/adr/0012).
 *
 *  All sleep is in this loop's own ppoll, because what wakes up there goes on at once, and what wakes up in the event loop goes through
 *  code that is cold by then. A first sleep is short. If nobody rings, the event loop has its turn and the next sleep is as long as the event loop's own would be:
 *  it ends when the event loop has something to do, too (docs/adr/0028). Only where sockets are part of the data path, or replies from the
 *  hypervisor are due, the event loop itself sleeps. */
import { CPU_CONTROL, CPU_IDLE, CPU_WAKEUP, type CpuMeter } from './cpu-meter.js';
import { nowNs } from '@grantline/base';
import { type CounterBlock, slots } from '../counters/counter-file.js';
import { counters, hidden, shown } from '../counters/declare.js';
import { RUNG, type Doorbell } from '../mem/doorbell.js';
import { eventLoopDueUs, eventLoopFd, longSleepUs, yieldCore } from '../mem/libc.js';

export interface Poller {
  scheduled: boolean;
  /** False: knows when it will have work, and wants to sleep until then. Not given: true. */
  patient?: boolean;
  /** Does at most a batch of work. @returns how much was done; 0 when there was none */
  poll(): number;
  /** Asks to be notified and looks again. @returns true when there is work after all */
  arm(): boolean;
}

/** What a part of the service has a say in beside its pollers. */
export interface LoopHooks {
  /** Microseconds until something must run although no event comes; Infinity: nothing must. Asked right before each sleep. */
  dueUs?: () => number;
  /** True while sockets of the event loop are part of the data path: it then gets short slices, and all sleeps. */
  sockets?: () => boolean;
  /** Component that the time between turns is charged to; CPU_CONTROL: none of this part's. */
  between?: () => number;
}

/** Longest that sockets wait while the data path is busy or in a short sleep. Of this domain's own time: where many share a core it is
 *  longer by what they take of it in between, up to so many slices. */
const SLICE_NS = 4e6;
const SLICES_MOST = 5;
/** So long at the most where the event loop's descriptor shows, each time that so many slices have gone by, that nothing has come for it: a turn
 *  of it in every turn of a core that many share costs more than all that is done in between. Its timers may be late by this. */
const TURN_WAITS_NS = 100e6;
/** The same where sockets are part of the data path. */
const SOCKET_SLICE_NS = 100e3;
/** After its last work a domain looks again for so long before it sleeps. Of its own time: while others have the core nobody is impatient. */
const PATIENCE_NS = 100_000;
/** The same after a long sleep, until somebody rings in a short one: what comes once in a while has no followers, and a core that looks for
 *  them keeps whoever else is to be woken on it waiting. */
const FIRST_PATIENCE_NS = 20_000;
/** What giving the core away costs when nobody else wants it; what takes longer was somebody else's turn. */
const YIELD_NS = 2000;
/** So many turns of others without work for us, and sleeping is the better way of waiting. */
const AWAY_LIMIT = 4;
/** Those who pass frames on do not keep a core for so long: it has gone to a stranger, for a slice of the scheduler's. Then
 *  sleeping is the better way for a while, since one who wakes up has precedence and one who gave way has not. More than this, and a
 *  program that floods us takes a slice of its own at each of our yields (docs/adr/0028). */
const STRANGER_NS = 1e6;
const STRANGER_PAUSE_NS = 5e6;
const SHORT_SLEEP_US = 2000;
/** The same where others keep the core for longer than that, turn by turn: what we wait for comes after theirs. It ends for the event loop, too. */
const SHARED_SLEEP_US = 20_000;
/** Others have had the core for so long that it is shared by many; for so long after it was seen last. */
const SHARED_NS = 1e6;
const SHARED_FOR_NS = 100e6;
/** Beyond it a sleep is begun anew. */
const LONG_SLEEP_US = longSleepUs(process.versions.uv);

const IDLE = 0;
const HOPE = 1;
const WORK = 2;

/** What every service counts of its loop. */
export const LOOP_COUNTERS = counters('loop', {
  wakeups: shown('grantline_wakeups_total'),
  timeouts: hidden('sleeps that ended by themselves: how the loop waits, not what it does'),
  deepSleeps: hidden("sleeps without a bound, its own or the event loop's: how the loop waits"),
  turns: hidden('how often the event loop gives the data loop a turn'),
  polls: shown('grantline_polls_total'),
  /** Times that a port was masked because its peer rang without reason. */
  damped: shown('grantline_damped_ports_total'),
});

const C = slots(LOOP_COUNTERS);

export interface LoopOptions {
  doorbell: Doorbell;
  meter: CpuMeter;
  counters: CounterBlock;
  /** Takes pending event-channel bits; handlers call `schedule`. @returns how many */
  dispatch: () => number;
  /** True while replies are due that only the event loop can bring. */
  waiting: () => boolean;
  /** Component that the loop's own work is charged to. */
  rest: number;
  /** Longest that sockets wait while the data path is busy, nanoseconds; not given: 4 ms. */
  sliceNs?: number;
}

export class DataLoop {
  private readonly o: LoopOptions;
  private readonly pollers: Poller[] = [];
  /** Those that have each of the hooks, so that a turn asks nobody else. */
  private readonly due: LoopHooks[] = [];
  private readonly socketUsers: LoopHooks[] = [];
  private readonly payers: LoopHooks[] = [];
  private active = false;
  private stopped = false;
  private leaving = false;
  private timer: NodeJS.Timeout | null = null;
  private timerAtMs = 0;
  /** The last sleep ended without a ring: the next one is a long one. */
  private quiet = false;
  private patienceNs = PATIENCE_NS;
  private impatientUntil = 0;
  private sharedUntil = 0;
  // The turn ends: at the end of its slice; where others have the core most of the time, when the event loop is looked at next, and at the latest.
  private sliceEnd = 0;
  private lookAt = 0;
  private latest = 0;
  private readonly onImmediate = (): void => this.turn(false);
  /** Who answers for a poller. One that is not here is the service's own: what it throws ends the service. */
  private readonly owners = new Map<Poller, (err: unknown) => void>();
  /** What the round has found so far. */
  private found = IDLE;

  constructor(options: LoopOptions) {
    this.o = options;
    options.doorbell.startWatch(() => this.rung());
  }

  /** Pollers run in the order in which they were added, each for a batch of its own. A round goes by this order and no other: one
   *  who feeds another is best before it, and what it has put there is taken in the same round, still in the cache.
   *  @param onFault takes what the poller throws, a fault of ours: the poller is off the loop then, and the others go on. Not
   *    given: it ends the service */
  add(poller: Poller, onFault?: (err: unknown) => void): void {
    this.pollers.push(poller);
    if (onFault !== undefined) this.owners.set(poller, onFault);
    this.schedule(poller);
  }

  remove(poller: Poller): void {
    const at = this.pollers.indexOf(poller);
    if (at >= 0) this.pollers.splice(at, 1);
    this.owners.delete(poller);
  }

  addHooks(hooks: LoopHooks): void {
    if (hooks.dueUs !== undefined) this.due.push(hooks);
    if (hooks.sockets !== undefined) this.socketUsers.push(hooks);
    if (hooks.between !== undefined) this.payers.push(hooks);
  }

  removeHooks(hooks: LoopHooks): void {
    for (const list of [this.due, this.socketUsers, this.payers]) {
      const at = list.indexOf(hooks);
      if (at >= 0) list.splice(at, 1);
    }
  }

  /** Component that the time since the last turn is charged to: of the first part that claims it. */
  between(): number {
    const { payers } = this;
    for (let i = 0; i < payers.length; i++) {
      const component = payers[i].between!();
      if (component !== CPU_CONTROL) return component;
    }
    return CPU_CONTROL;
  }

  /** The poller has work: it will run in this turn, or in one that starts now. */
  schedule(poller: Poller): void {
    poller.scheduled = true;
    this.kick();
  }

  /** Starts a turn soon, unless one is under way. Never re-enters: it may be called from inside a poll. */
  kick(): void {
    if (this.active || this.stopped) return;
    this.active = true;
    setImmediate(this.onImmediate);
  }

  /** From inside a poll: something was left to the event loop (promises, ticks). It gets its turn after this round, and
   *  the loop does not sleep before. */
  leave(): void {
    this.leaving = true;
  }

  stop(): void {
    this.stopped = true;
    if (this.timer !== null) clearTimeout(this.timer);
    this.o.doorbell.stopWatch();
  }

  /** From the event loop: somebody rang, or this loop itself, which wants to sleep. */
  private rung(): void {
    if (this.active || this.stopped) return;
    this.active = true;
    try {
      this.turn(true);
    } catch (err) {
      // Out of a callback of the C library's: here nobody would hear of it.
      setImmediate(() => {
        throw err;
      });
    }
  }

  /** @param mayRest called where the event loop has done all that there was, and can say how long it would sleep */
  private turn(mayRest: boolean): void {
    if (this.stopped) return;
    const { meter, counters, doorbell, rest, sliceNs = SLICE_NS } = this.o;
    counters.v[C.turns]++;
    meter.begin(this.between());
    this.leaving = false;
    const sockets = this.usesSockets();
    this.begin(sockets ? SOCKET_SLICE_NS : sliceNs, sockets);
    let patientUntil = 0;
    let away = 0;
    let rounds = 0;
    let fresh = mayRest;
    for (;;) {
      // What handlers leave to promises must not be slept over.
      if (this.o.dispatch() > 0) fresh = false;
      const found = this.pollAll(
        meter.now < patientUntil && meter.now > this.impatientUntil && !sockets && !this.o.waiting(),
      );
      if (found !== IDLE) {
        fresh = false;
        if (found === WORK) {
          patientUntil = meter.now + this.patienceNs;
          away = 0;
          // Pollers lap as they work; this is for those that find nothing to lap.
          if ((++rounds & 15) === 0) meter.lap(rest);
        } else {
          meter.lap(rest);
          yieldCore();
          const others = meter.lapAway(CPU_IDLE, YIELD_NS);
          patientUntil += others;
          this.sliceEnd += others;
          if (others > SHARED_NS) this.sharedUntil = meter.now + SHARED_FOR_NS;
          if (others > 0 && ++away === AWAY_LIMIT) patientUntil = 0;
          if (others > STRANGER_NS) this.impatientUntil = meter.now + STRANGER_PAUSE_NS;
        }
        if (!this.leaving && !this.isOver()) continue;
        // Let sockets have their turn, then go on.
        meter.end(rest);
        counters.commit();
        setImmediate(this.onImmediate);
        return;
      }
      const dueUs = this.dueUs();
      const wantsLong = this.quiet && dueUs > SHORT_SLEEP_US;
      const isLoops = sockets || this.leaving || this.o.waiting() || (wantsLong && eventLoopFd < 0);
      const isLong = !isLoops && wantsLong;
      const loopUs = isLong && fresh ? eventLoopDueUs() : 0;
      meter.end(rest);
      if (isLoops || (isLong && loopUs === 0)) {
        if (isLoops) counters.v[C.deepSleeps]++;
        counters.commit();
        this.active = false;
        if (this.stopped) return;
        // Before a long sleep the event loop does what it has, and calls back by way of the doorbell.
        if (isLong) doorbell.knock();
        else if (dueUs !== Infinity) this.kickIn(dueUs);
        return;
      }
      if (isLong) counters.v[C.deepSleeps]++;
      const isShared = !isLong && eventLoopFd >= 0 && meter.now < this.sharedUntil;
      const shortUs = isShared ? SHARED_SLEEP_US : SHORT_SLEEP_US;
      const sleepUs = isLong ? Math.min(LONG_SLEEP_US, loopUs, dueUs) : Math.min(shortUs, Math.max(0, dueUs));
      const sleptAt = meter.now;
      const isRung = doorbell.wait(sleepUs, isLong || isShared) === RUNG;
      meter.begin(CPU_WAKEUP);
      fresh = false;
      if (isRung) {
        counters.v[C.wakeups]++;
        this.quiet = false;
        this.patienceNs = isLong ? FIRST_PATIENCE_NS : PATIENCE_NS;
        // Sockets have not waited: they would have ended the sleep. Timers would have ended a long one.
        if (isLong) this.begin(sliceNs, sockets);
        else if (isShared) this.sliceEnd += meter.now - sleptAt;
      } else {
        counters.v[C.timeouts]++;
        this.quiet ||= dueUs > SHORT_SLEEP_US;
      }
      if (!isRung || this.isOver()) {
        // Sockets may have waited for the length of the sleep.
        meter.end(rest);
        counters.commit();
        setImmediate(this.onImmediate);
        return;
      }
      this.sliceEnd = Math.min(this.sliceEnd, meter.now + sliceNs);
    }
  }

  /** The event loop has had its turn. @param ownNs the next one comes after so much time of this domain's own */
  private begin(ownNs: number, sockets: boolean): void {
    const { now } = this.o.meter;
    this.sliceEnd = now + ownNs;
    this.lookAt = now + SLICES_MOST * (this.o.sliceNs ?? SLICE_NS);
    this.latest = sockets || eventLoopFd < 0 ? this.lookAt : now + TURN_WAITS_NS;
  }

  /** @returns true when it is the event loop's turn */
  private isOver(): boolean {
    const { now } = this.o.meter;
    if (now >= this.sliceEnd) return true;
    if (now < this.lookAt) return false;
    if (now >= this.latest || this.o.doorbell.isEventLoopDue()) return true;
    this.lookAt = now + SLICES_MOST * (this.o.sliceNs ?? SLICE_NS);
    return false;
  }

  private usesSockets(): boolean {
    const { socketUsers } = this;
    for (let i = 0; i < socketUsers.length; i++) if (socketUsers[i].sockets!()) return true;
    return false;
  }

  /** Until the first deadline. All are asked, also behind one that is 0: they put what must look after the sleep on the list. */
  private dueUs(): number {
    const { due } = this;
    let us = Infinity;
    for (let i = 0; i < due.length; i++) us = Math.min(us, due[i].dueUs!());
    return us;
  }

  /** Starts a turn in so many microseconds at the latest. One timer at a time: there may be many sleeps to a wait. */
  private kickIn(us: number): void {
    const ms = Math.max(1, Math.floor(us / 1000));
    const atMs = nowNs() / 1e6 + ms;
    if (this.timer !== null) {
      if (this.timerAtMs <= atMs + 1) return;
      clearTimeout(this.timer);
    }
    this.timerAtMs = atMs;
    this.timer = setTimeout(() => {
      this.timer = null;
      this.kick();
    }, ms);
  }

  /** @param patient leave pollers without work unarmed, to look again soon
   *  @returns WORK; HOPE: none now, and somebody is not armed; IDLE: all are armed and have nothing */
  private pollAll(patient: boolean): number {
    this.o.counters.v[C.polls]++;
    this.found = IDLE;
    for (let at = 0; at < this.pollers.length;) at = this.pollFrom(at, patient);
    return this.found === IDLE && this.anyScheduled() ? WORK : this.found;
  }

  /** One catch for the round, not for each poll or frame. @returns where to go on: at the end, or behind one that failed */
  private pollFrom(first: number, patient: boolean): number {
    const pollers = this.pollers;
    let i = first;
    try {
      for (; i < pollers.length; i++) {
        const p = pollers[i];
        if (!p.scheduled) continue;
        if (p.poll() > 0) {
          this.quiet = false;
          this.found = WORK;
        } else if (patient && p.patient !== false) {
          if (this.found === IDLE) this.found = HOPE;
        } else if (p.arm()) {
          this.found = WORK;
        } else {
          p.scheduled = false;
        }
      }
    } catch (err) {
      this.failed(pollers[i], err);
    }
    return i;
  }

  private failed(poller: Poller, err: unknown): void {
    const owner = this.owners.get(poller);
    if (owner === undefined) throw err;
    this.remove(poller);
    poller.scheduled = false;
    this.found = WORK;
    owner(err);
  }

  /** A poller that was passed in this round may have been scheduled since, by one behind it: it is not slept over. */
  private anyScheduled(): boolean {
    const pollers = this.pollers;
    for (let i = 0; i < pollers.length; i++) if (pollers[i].scheduled) return true;
    return false;
  }
}
