/** The WebSocket to the testbed: opens again by itself, and notices when nothing comes any more. */
import type { ToBrowser, ToServer } from './messages.js';

/** `lost`: it was connected, and tries again. */
export type LinkState = 'connecting' | 'live' | 'lost';

export interface ConnectionEvents {
  message: (message: ToBrowser) => void;
  /** @param why text for the user, where there is one */
  state: (state: LinkState, why: string) => void;
}

const FIRST_DELAY_MS = 500;
const LONGEST_DELAY_MS = 5000;
/** Samples come twice a second: so long a silence means that the other side is gone without having said so. */
const SILENCE_MS = 8000;

type Unnumbered<T> = T extends unknown ? Omit<T, 'id'> : never;

export class Connection {
  private readonly on: ConnectionEvents;
  private socket: WebSocket | null = null;
  private delay = FIRST_DELAY_MS;
  private silence = 0;
  private nextId = 1;
  private readonly waiting = new Map<number, (answer: { ok: boolean; message: string }) => void>();

  constructor(on: ConnectionEvents) {
    this.on = on;
    this.open();
  }

  /** Sends a request. @returns the answer; a broken connection is one, too */
  ask(request: Unnumbered<ToServer>): Promise<{ ok: boolean; message: string }> {
    const { socket } = this;
    if (socket?.readyState !== WebSocket.OPEN)
      return Promise.resolve({ ok: false, message: 'There is no connection.' });
    const id = this.nextId++;
    return new Promise((done) => {
      this.waiting.set(id, done);
      socket.send(JSON.stringify({ ...request, id }));
    });
  }

  private open(): void {
    const socket = new WebSocket(`${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}/live`);
    this.socket = socket;
    socket.onopen = () => {
      this.delay = FIRST_DELAY_MS;
      this.heard();
    };
    socket.onmessage = (event: MessageEvent<string>) => {
      this.heard();
      const message = JSON.parse(event.data) as ToBrowser;
      if (message.type === 'hello') this.on.state('live', '');
      if (message.type !== 'answer') return this.on.message(message);
      this.waiting.get(message.id)?.(message);
      this.waiting.delete(message.id);
    };
    socket.onclose = (event) => this.closed(socket, event.reason);
  }

  private heard(): void {
    clearTimeout(this.silence);
    this.silence = setTimeout(() => this.closed(this.socket, 'Nothing has come for some seconds.'), SILENCE_MS);
  }

  private closed(socket: WebSocket | null, why: string): void {
    if (socket === null || socket !== this.socket) return;
    this.socket = null;
    socket.close();
    clearTimeout(this.silence);
    for (const done of this.waiting.values())
      done({ ok: false, message: 'The connection broke before the answer came.' });
    this.waiting.clear();
    this.on.state('lost', why);
    setTimeout(() => this.open(), this.delay);
    this.delay = Math.min(LONGEST_DELAY_MS, this.delay * 2);
  }
}
