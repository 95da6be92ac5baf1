/** What the guest serves on its TCP/IP stack: the web application on port 80, and what measures TCP: echo, discard, chargen (RFC 862 to 864). */
import { WEB_PORT } from '@grantline/base';
import { serveBulk, type AppCounters, type NetStack, accept } from '@grantline/tcpip';
import { setFlagsFromString } from 'node:v8';
import { makeWebApp, type WebApp } from '../web/app.js';
import { countAnswer, type WebCounters } from '../web/counting.js';

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

  /** @param name who answers, by HTTP */
  async serve(stack: NetStack, name: string, counters: AppCounters, answers: WebCounters): Promise<void> {
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
