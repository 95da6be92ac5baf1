/** The connected browsers: few of them, none of which can hold the testbed up. One that reads slowly misses samples; one
 *  that is gone is noticed and forgotten. */
import { WebSocket, type RawData } from 'ws';
import type { ToBrowser, ToServer } from '../../page/messages.js';
import { parseRequest } from './schema.js';

/** Tabs and people who look at one testbed at once. */
export const MAX_BROWSERS = 16;
/** More than this waiting to be sent: the browser does not keep up, and samples are not queued for it. */
export const MAX_QUEUED_BYTES = 256 << 10;
/** A browser that did not answer a ping by the next one is gone. */
const PING_MS = 10_000;
/** Browsers take the testbed for gone when nothing comes for a while. */
const BEAT_MS = 3000;
/** Messages that are no request; then the connection is closed. */
const MAX_REFUSED = 20;

/** Part of ws' WebSocket that is used. */
type Socket = Pick<WebSocket, 'send' | 'close' | 'terminate' | 'ping' | 'bufferedAmount' | 'readyState' | 'on'>;

interface Browser {
  socket: Socket;
  answered: boolean;
  refused: number;
  /** A state was left out for it: it gets the next one that there is room for. */
  stale: boolean;
}

export interface BrowserEvents {
  hello: () => ToBrowser;
  /** The state as it is, for one that missed some. */
  state: () => ToBrowser;
  /** Fulfilled with what to tell the user; rejected with an Error whose message says what went wrong. */
  request: (request: ToServer) => Promise<string>;
  /** The number of browsers has changed. */
  count: (n: number) => void;
}

export class Browsers {
  private readonly all = new Set<Browser>();
  private readonly on: BrowserEvents;
  private readonly timers: NodeJS.Timeout[];

  constructor(events: BrowserEvents, pingMs = PING_MS) {
    this.on = events;
    this.timers = [
      setInterval(() => this.pingAll(), pingMs).unref(),
      setInterval(() => this.broadcast({ type: 'beat' }), BEAT_MS).unref(),
    ];
  }

  get size(): number {
    return this.all.size;
  }

  /** Takes a connection, or closes it with the reason. */
  add(socket: Socket): void {
    // An error is followed by close, which is all that matters.
    socket.on('error', () => {});
    if (this.all.size >= MAX_BROWSERS) {
      socket.close(1013, `${MAX_BROWSERS} browsers are connected already: close one of them`);
      return;
    }
    const browser: Browser = { socket, answered: true, refused: 0, stale: false };
    this.all.add(browser);
    socket.on('pong', () => (browser.answered = true));
    socket.on('message', (data: RawData, isBinary: boolean) => this.heard(browser, data, isBinary));
    socket.on('close', () => {
      if (this.all.delete(browser)) this.on.count(this.all.size);
    });
    this.tell(browser, JSON.stringify(this.on.hello()));
    this.on.count(this.all.size);
  }

  /** To all that keep up. */
  broadcast(message: ToBrowser): void {
    if (this.all.size === 0) return;
    const text = JSON.stringify(message);
    for (const browser of this.all) {
      if (browser.socket.bufferedAmount > MAX_QUEUED_BYTES) {
        browser.stale ||= message.type === 'state';
        continue;
      }
      if (browser.stale) {
        browser.stale = false;
        if (message.type !== 'state') this.tell(browser, JSON.stringify(this.on.state()));
      }
      this.tell(browser, text);
    }
  }

  /** Says why, and closes all. */
  end(reason: string): void {
    for (const timer of this.timers) clearInterval(timer);
    this.broadcast({ type: 'ended', reason });
    for (const { socket } of this.all) {
      socket.close(1001);
      // What was said has gone into the kernel's buffer, or never will: nobody is waited for.
      setImmediate(() => socket.terminate());
    }
  }

  private tell(browser: Browser, text: string): void {
    if (browser.socket.readyState === WebSocket.OPEN) browser.socket.send(text);
  }

  private pingAll(): void {
    for (const browser of this.all) {
      if (!browser.answered) browser.socket.terminate();
      else if (browser.socket.readyState === WebSocket.OPEN) {
        browser.answered = false;
        browser.socket.ping();
      }
    }
  }

  private heard(browser: Browser, data: RawData, isBinary: boolean): void {
    const parsed = isBinary
      ? ({ ok: false, id: 0, reason: 'the message is not text' } as const)
      : parseRequest((data as Buffer).toString('utf8'));
    const answer = (id: number, ok: boolean, message: string): void =>
      this.tell(browser, JSON.stringify({ type: 'answer', id, ok, message } satisfies ToBrowser));
    if (!parsed.ok) {
      answer(parsed.id, false, parsed.reason);
      if (++browser.refused > MAX_REFUSED) browser.socket.close(1008, 'too many messages that are no requests');
      return;
    }
    const { id } = parsed.request;
    this.on.request(parsed.request).then(
      (said) => answer(id, true, said),
      (error: unknown) => answer(id, false, error instanceof Error ? error.message : String(error)),
    );
  }
}
