/** A session on a running testbed: while it is held nobody else measures, and when it ends - by `end`, by an error, by
 *  SIGKILL - the hypervisor puts everything back that was found when it began. All commands that change a testbed which is
 *  not their own do so within one. docs/wire/control-plane.md section 11. */
import { request as httpRequest, type ClientRequest, type IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { hostname } from 'node:os';
import { UserError } from '../cli/errors.js';
import { call, HttpError } from './http.js';

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

/** @param base http://host:port of the hypervisor
 *  @throws UserError while somebody else measures, HttpError */
export async function holdSession(base: string, token: string): Promise<BedSession> {
  const { request, response } = await open(base, token, ownName());
  let lost = false;
  response.once('close', () => (lost = true));
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
      const over = call('hypervisor', base, `/api/session/${id}`, { method: 'DELETE', token, timeoutMs: limitMs });
      // However that went: with the connection it ends in any case.
      ending ??= over.then(
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

function open(
  base: string,
  token: string,
  owner: string,
): Promise<{ request: ClientRequest; response: IncomingMessage }> {
  const url = new URL('/api/session', base);
  const body = JSON.stringify({ owner });
  const headers = {
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(body),
    authorization: `Bearer ${token}`,
  };
  return new Promise((done, fail) => {
    const refuse = (why: string, status: number): void => {
      request.destroy();
      fail(new HttpError(`hypervisor ${status === 0 ? 'did not answer' : 'refused'} POST /api/session${why}`, status));
    };
    const request = (url.protocol === 'https:' ? httpsRequest : httpRequest)(url, {
      method: 'POST',
      headers,
      agent: false,
    });
    const limit = setTimeout(() => refuse(`: no answer within ${BEGIN_LIMIT_MS / 1000} s`, 0), BEGIN_LIMIT_MS);
    request.on('error', (error: NodeJS.ErrnoException) => refuse(`: ${error.code ?? error.message}`, 0));
    request.once('close', () => clearTimeout(limit));
    request.once('response', (response) => {
      clearTimeout(limit);
      const status = response.statusCode ?? 0;
      if (status === 200) return done({ request, response });
      void refusal(response).then((message) => {
        if (status !== 409) return refuse(` (${status}): ${message}`, status);
        request.destroy();
        fail(new UserError(message, 'wait until it has ended'));
      });
    });
    request.end(body);
  });
}

async function refusal(response: IncomingMessage): Promise<string> {
  let text = '';
  try {
    for await (const chunk of response.setEncoding('utf8')) if ((text += chunk as string).length > REFUSAL_CHARS) break;
    const { message } = JSON.parse(text) as { message?: unknown };
    return typeof message === 'string' ? message : text;
  } catch {
    return text;
  }
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
