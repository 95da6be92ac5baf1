/** What the guest serves on its TCP/IP stack: the web application on port 80, and what measures TCP: echo, discard, chargen
 *  (RFC 862 to 864). */
import { setFlagsFromString } from 'node:v8';
import { slots, type CounterBlock } from '@grantline/machine';
import { WEB_COUNTERS } from '@grantline/observe';
import { WEB_PORT } from '@grantline/base';
import { serveBulk, accept, type AppCounters, type NetStack } from '@grantline/tcpip';
import { makeWebApp, type WebApp } from '../web/app.js';

const WEB = slots(WEB_COUNTERS);
let grown = false;

/** main.ts holds the young generation small, which is right for a guest that only receives. An application's objects die
 *  young: with room for them V8 collects less often. */
function growHeap(): void {
  if (grown) return;
  grown = true;
  setFlagsFromString('--semi-space-growth-factor=2');
}

export class GuestApps {
  /** Streams that are open now. */
  connections = 0;
  private web: WebApp | null = null;

  /** The web application has work for the event loop's next turn, and nothing to wait for. */
  get awaitsTurn(): boolean {
    return this.web?.turns.waiting ?? false;
  }

  /** @param name who answers, by HTTP */
  async serve(stack: NetStack, name: string, counters: AppCounters, answers: CounterBlock): Promise<void> {
    const web = await makeWebApp({ name, onAnswer: (status) => countAnswer(answers, status) });
    this.web = web;
    stack.listen(WEB_PORT, (connection) =>
      accept(connection, (socket) => {
        this.connections++;
        growHeap();
        socket.once('close', () => this.connections--);
        web.server.emit('connection', socket);
      }),
    );
    serveBulk(stack, counters);
  }

  async close(): Promise<void> {
    await this.web?.close();
  }
}

function countAnswer(counters: CounterBlock, status: number): void {
  counters.v[status < 400 ? WEB.ok : status < 500 ? WEB.clientErrors : WEB.serverErrors]++;
  counters.commit();
}
