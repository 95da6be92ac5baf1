/** A session on a running testbed: while it is held nobody else measures, and when it ends - by `end`, by an error, by
 *  SIGKILL - the hypervisor puts everything back that was found when it began. All commands that change a testbed which is
 *  not their own do so within one. docs/wire/control-plane.md section 11. */
import type { ClientRequest, IncomingMessage } from 'node:http';
import { hostname } from 'node:os';
import { UserError } from '../base/errors.js';
import { HttpError, messageOf, type Party } from '../base/http.js';

/** The end of an earlier session is waited for: vifs connect anew, receivers get ready. */
const BEGIN_LIMIT_MS = 40_000;
const END_LIMIT_MS = 40_000;
/** An answer that refuses is a line. */
const REFUSAL_CHARS = 10_000;

export interface BedSession {
  /** The connection has ended though nobody ended it: the hypervisor is gone, and what was found with it. */
  readonly lost: boolean;
  /** Ends it; again is fine. @returns when all is as it was found, or after so long */
  end(limitMs?: number): Promise<void>;
}

/** @param over called when it ends, before anything is put back @throws UserError while somebody else measures, HttpError */
export async function holdSession(hypervisor: Party, over: () => void): Promise<BedSession> {
  const { request, response } = await open(hypervisor, ownName());
  let lost = false;
  response.once('close', () => {
    lost = true;
    over();
  });
  response.on('error', () => {});
  const id = await firstLine(response);
  // Read on, or the connection would be held up.
  response.resume();
  let ending: Promise<void> | null = null;
  return {
    get lost() {
      return lost;
    },
    end(limitMs = END_LIMIT_MS) {
      over();
      const asked = hypervisor.call(`/api/session/${id}`, { method: 'DELETE', timeoutMs: limitMs });
      // However that went: with the connection it ends in any case.
      ending ??= asked.then(
        () => {},
        () => {},
      );
      return ending.finally(() => request.destroy());
    },
  };
}

/** Who measures, for others: grantline compare (process 4711 on lab). */
const ownName = (): string =>
  `grantline ${process.argv[2] ?? ''} (process ${process.pid} on ${hostname()})`
    .replaceAll(/[^ -~]/g, '?')
    .slice(0, 120);

async function open(hypervisor: Party, owner: string): Promise<{ request: ClientRequest; response: IncomingMessage }> {
  const asked = await hypervisor.open('/api/session', { owner }, BEGIN_LIMIT_MS);
  const status = asked.response.statusCode ?? 0;
  if (status === 200) return asked;
  const message = await refusal(asked.response);
  asked.request.destroy();
  if (status === 409) throw new UserError(message, 'wait until it has ended');
  throw new HttpError(`hypervisor refused POST /api/session (${status}): ${message}`, status);
}

async function refusal(response: IncomingMessage): Promise<string> {
  let text = '';
  try {
    for await (const chunk of response.setEncoding('utf8')) if ((text += chunk as string).length > REFUSAL_CHARS) break;
  } catch {
    // What came of it.
  }
  return messageOf(text);
}

/** The session's number. */
function firstLine(response: IncomingMessage): Promise<number> {
  return new Promise((done, fail) => {
    let text = '';
    const gone = (): void => fail(new HttpError('hypervisor ended the session before it began', 0));
    response.once('close', gone);
    const onData = (chunk: Buffer): void => {
      text += chunk.toString('latin1');
      const end = text.indexOf('\n');
      if (end < 0 && text.length < REFUSAL_CHARS) return;
      response.off('data', onData);
      response.off('close', gone);
      const id = Number(/^\{"id":(\d{1,9})\}$/.exec(text.slice(0, Math.max(0, end)))?.[1]);
      if (Number.isInteger(id)) done(id);
      else fail(new HttpError('hypervisor answered POST /api/session with something that is no session', 200));
    };
    response.on('data', onData);
  });
}
