/** Logs: JSON lines on stdout. No transport, hence no worker thread and no lines lost with it. Lines of a kind are limited
 *  (LogLimit), and so is a line. */
import { pino, type DestinationStream, type Logger } from 'pino';
import { nowNs } from '@grantline/base';
import type { ServiceEnv } from './env.js';

/** So many lines of a kind at once, for each domain; then one in each interval. */
const BURST = 20;
const INTERVAL_NS = 1e9;
/** Kinds that are told apart; all further ones share one. Messages are few; domains, vifs and queues are numbered. */
const MAX_KINDS = 1024;

interface Kind {
  tokens: number;
  atNs: number;
  leftOut: number;
}

/** The log of a service; the same type that fastify takes. */
export type Log = Logger;

type Sink = ReturnType<typeof pino.destination>;
let sink: Sink | null = null;
let current: Log | null = null;

/** The service's log. Written without blocking, and what is left at the exit is flushed then. Once per process.
 *  @param env names the service and its level */
export function createLog(env: Pick<ServiceEnv, 'kind' | 'domid' | 'log'>): Log {
  if (sink === null) {
    // A line goes out at once. Not minLength 0: then flush would not wait for a write that is under way. Lines that cannot be written,
    // to a full disk or a reader that stands still, are dropped at last.
    const made = pino.destination({ dest: 1, sync: false, minLength: 1, maxLength: MAX_HELD_BYTES });
    // The reader of stdout may be gone before us, or the disk full: that is no reason to die.
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
export function createLogTo(
  env: Pick<ServiceEnv, 'kind' | 'domid' | 'log'>,
  stream: DestinationStream,
  limit = new LogLimit(),
): Log {
  const base = env.domid === null ? { service: env.kind } : { service: env.kind, domid: env.domid };
  let telling: NodeJS.Timeout | null = null;
  const tell = (): void => {
    telling = null;
    for (const { message, of, more } of limit.takeLeftOut()) log.warn({ more, of }, `left out: ${message}`);
  };
  const log: Log = pino(
    {
      level: env.log,
      base,
      timestamp: pino.stdTimeFunctions.isoTime,
      hooks: {
        logMethod(args, method, level) {
          const [fields, text] = args as unknown as [unknown, unknown];
          const message = typeof fields === 'string' ? fields : typeof text === 'string' ? text : '';
          const leftOut = level >= FATAL ? 0 : limit.admit(message, about(fields));
          if (leftOut === 0) return method.apply(this, args);
          if (leftOut !== null) {
            const more = typeof fields === 'object' ? { ...fields, more: leftOut } : { more: leftOut };
            return method.apply(this, [more, message]);
          }
          telling ??= setTimeout(tell, TELL_MS).unref();
        },
      },
    },
    { write: (line: string) => void stream.write(line.length <= MAX_LINE ? line : shortened(line)) },
  );
  return log;
}

/** What is held back at most while it cannot be written. */
const MAX_HELD_BYTES = 256 << 10;
/** Characters of a line: some stacks and what a peer wrote are long. */
const MAX_LINE = 8 << 10;
const FATAL = 60;
/** How soon lines that were left out are told when no other of their kind comes. */
const TELL_MS = 5000;

/** A line that says how long one was, with its beginning. */
function shortened(line: string): string {
  const { level, time, service, msg } = JSON.parse(line) as Record<string, unknown>;
  return `${JSON.stringify({ level, time, service, msg: String(msg).slice(0, 200), cut: line.slice(0, 2000), length: line.length })}\n`;
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

/** How much a service may log. Others decide how often some lines come - a guest whose every request is refused, a peer that breaks
 *  its connection again and again - and must not be able to fill the disk or the reader's time with them.
 *  It decides on each line, and tells how many of its kind were left out before it. */
export class LogLimit {
  private readonly kinds = new Map<string, Kind>();
  private readonly now: () => number;

  constructor(now: () => number = nowNs) {
    this.now = now;
  }

  /** @param of whom the line is about, any text
   *  @returns lines of that message about the same that were left out before this one; null: this one is to be left out too */
  admit(message: string, of: string): number | null {
    const kind = this.kindOf(`${message}\0${of}`);
    const now = this.now();
    kind.tokens = Math.min(BURST, kind.tokens + (now - kind.atNs) / INTERVAL_NS);
    kind.atNs = now;
    if (kind.tokens < 1) {
      kind.leftOut++;
      return null;
    }
    kind.tokens--;
    const { leftOut } = kind;
    kind.leftOut = 0;
    return leftOut;
  }

  /** All that was left out and has not been told. The caller tells it. */
  takeLeftOut(): { message: string; of: string; more: number }[] {
    const out: { message: string; of: string; more: number }[] = [];
    for (const [key, kind] of this.kinds) {
      if (kind.leftOut === 0) continue;
      const [message, of] = key.split('\0');
      out.push({ message, of, more: kind.leftOut });
      kind.leftOut = 0;
    }
    return out;
  }

  private kindOf(key: string): Kind {
    const name = this.kinds.has(key) || this.kinds.size < MAX_KINDS ? key : 'other\0';
    let kind = this.kinds.get(name);
    if (kind === undefined) {
      kind = { tokens: BURST, atNs: this.now(), leftOut: 0 };
      this.kinds.set(name, kind);
    }
    return kind;
  }
}

/** Fields of a line that say whom it is about, as services call them. */
const ABOUT = ['domid', 'guest', 'vif', 'queue', 'port'] as const;

/** Whom a line is about, by its fields. */
export function about(fields: unknown): string {
  if (typeof fields !== 'object' || fields === null) return '';
  const of = fields as Record<string, unknown>;
  return ABOUT.filter((name) => typeof of[name] === 'string' || typeof of[name] === 'number')
    .map((name) => `${name} ${of[name] as string | number}`)
    .join(' ');
}
