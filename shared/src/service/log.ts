/** Logs: JSON lines on stdout. No transport, hence no worker thread and no lines lost with it. */
import { pino, type DestinationStream, type Logger } from 'pino';
import type { ServiceEnv } from './env.js';

/** The log of a service; the same type that fastify takes. */
export type Log = Logger;

type Sink = ReturnType<typeof pino.destination>;
let sink: Sink | null = null;
let current: Log | null = null;

/** The service's log. Written without blocking, and what is left at the exit is flushed then. Once per process.
 *  @param env names the service and its level */
export function createLog(env: Pick<ServiceEnv, 'kind' | 'domid' | 'log'>): Log {
  if (sink === null) {
    // A line goes out at once. Not minLength 0: then flush would not wait for a write that is under way.
    const made = pino.destination({ dest: 1, sync: false, minLength: 1 });
    // The reader of stdout may be gone before us: that is no reason to die.
    made.on('error', () => {});
    process.on('exit', () => {
      try {
        made.flushSync();
      } catch {
        // Nobody reads any more.
      }
    });
    sink = made;
  }
  current = createLogTo(env, sink);
  return current;
}

/** A log into any stream; tests collect lines with it. */
export function createLogTo(env: Pick<ServiceEnv, 'kind' | 'domid' | 'log'>, stream: DestinationStream): Log {
  const base = env.domid === null ? { service: env.kind } : { service: env.kind, domid: env.domid };
  return pino({ level: env.log, base, timestamp: pino.stdTimeFunctions.isoTime }, stream);
}

/** The log made last, or null before any was made. */
export const currentLog = (): Log | null => current;

/** Waits until lines written so far are out, at most `limitMs`. */
export function flushLog(limitMs = 500): Promise<void> {
  return new Promise((resolve) => {
    if (sink === null) return resolve();
    const timer = setTimeout(resolve, limitMs);
    sink.flush(() => {
      clearTimeout(timer);
      resolve();
    });
  });
}
