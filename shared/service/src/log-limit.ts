/** How much a service may log. Others decide how often some lines come - a guest whose every request is refused, a peer that breaks
 *  its connection again and again - and must not be able to fill the disk or the reader's time with them. */
import { nowNs } from '@grantline/base';

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

/** Decides on each line; tells how many of its kind were left out before it. */
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
