/** Whether a run measured the server, or the generator. Pure. */
import { errorsOf, type Generated } from './plan.js';

/** A generator, or a server, that used more of a core than this has no more to give. */
export const FULL = 0.93;
/** Share of requests of an open loop that the generator itself may send late. */
const LATE = 0.05;
/** An open loop that reaches less of its rate did not offer it. */
const REACHED = 0.98;

export interface Load {
  generated: Generated;
  rate: number | null;
  /** CPU time over elapsed time of the process that used most of those that serve. */
  serverShare: number;
}

/** Why the run says nothing of the server. @returns null when it does */
export function refusalOf({ generated, rate, serverShare }: Load): string | null {
  const { cpuShare, lateShare } = generated.generator;
  if (generated.answered === 0) return errorsOf(generated.errors) > 0 ? null : 'no request was answered in time';
  if (cpuShare >= FULL && serverShare < FULL)
    return `the generator used ${percent(cpuShare)} of a core, and the busiest process that serves ${percent(serverShare)}: what is measured is the generator`;
  if (rate === null || lateShare <= LATE) return null;
  return `the generator sent ${percent(lateShare)} of the requests late although a connection was free: it cannot keep up with ${rate} requests/s`;
}

/** What a reader should know of a run that stands. */
export function notesOf({ generated, rate }: Load, idleShare: number): string[] {
  const notes: string[] = [];
  if (rate !== null && generated.answered / generated.seconds < REACHED * rate)
    notes.push(
      `${(generated.answered / generated.seconds).toFixed(0)} of ${rate} requests/s were answered: the rate is above the capacity`,
    );
  if (generated.waiting > 0)
    notes.push(
      `${generated.waiting} requests were due and still waited for a connection when time was up: their latency counts as far as it went`,
    );
  if (idleShare < 0.03) notes.push('no core of the machine was idle: generator and servers took time from each other');
  return notes;
}

/** What was lost, mixed up or corrupt. @returns null when all was well */
export function faultOf({ errors, total }: Generated): string | null {
  const parts = [
    [errors.wrong, 'answers were wrong'],
    [errors.status, 'answers had another status than 200'],
    [errors.unanswered, 'requests were not answered'],
    [errors.timeout, 'requests timed out'],
    [errors.connection, 'connections failed or broke'],
  ] as const;
  const said = parts.filter(([n]) => n > 0).map(([n, what]) => `${n} ${what}`);
  return said.length === 0 ? null : `${said.join(', ')} (of ${total.sent} requests)`;
}

const percent = (share: number): string => `${(share * 100).toFixed(0)} %`;
