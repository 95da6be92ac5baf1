/** A small wrapper around fetch: JSON both ways, a time limit, a limit in bytes, no redirects, and errors that name who was asked
 *  for what. */
import { request as httpRequest, type ClientRequest, type IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { printable } from '@grantline/base';

export class HttpError extends Error {
  override readonly name = 'HttpError';
  /** 0 when no answer came, or not all of it. */
  readonly status: number;

  constructor(message: string, status: number) {
    super(message);
    this.status = status;
  }
}

export interface Call {
  method?: 'GET' | 'POST' | 'PUT' | 'DELETE';
  body?: unknown;
  /** Instead of body: sent as it is. */
  bytes?: Uint8Array<ArrayBuffer>;
  timeoutMs?: number;
  /** Bytes of an answer at most; ANSWER_BYTES_MAX when not given. */
  maxBytes?: number;
}

/** A server does not decide how much memory its answer takes here. */
export const ANSWER_BYTES_MAX = 16 << 20;
/** Characters of another's message that are repeated. */
const MESSAGE_MAX = 300;

/** Somebody who is asked by HTTP with a credential. Address and credential are one value, and the credential does not come out
 *  again: it cannot be sent to anybody else. The free functions below carry none. */
export class Party {
  /** For messages. */
  readonly name: string;
  /** http://host:port */
  readonly http: string;
  readonly #credential: string | null;

  /** @param credential what this party, and nobody else, knows the caller by; null: there is none */
  constructor(name: string, http: string, credential: string | null) {
    this.name = name;
    this.http = http;
    this.#credential = credential;
  }

  /** @returns the answer's JSON, or null when it is empty. @throws HttpError */
  async call<T>(path: string, options: Call = {}): Promise<T> {
    const text = (await this.callBytes(path, options)).toString('utf8');
    if (text === '') return null as T;
    try {
      return JSON.parse(text) as T;
    } catch {
      throw new HttpError(
        `${this.name} answered ${options.method ?? 'GET'} ${path} with something that is not JSON`,
        200,
      );
    }
  }

  /** POSTs JSON and answers as soon as the other side does, with the connection: for answers that last.
   *  @throws HttpError when none comes */
  open(path: string, body: unknown, limitMs: number): Promise<{ request: ClientRequest; response: IncomingMessage }> {
    const url = urlAt(this.http, path);
    const headers = headersOf({ body }, this.#credential);
    return new Promise((done, fail) => {
      const request = (url.protocol === 'https:' ? httpsRequest : httpRequest)(url, {
        ...{ method: 'POST', headers, agent: false },
      });
      const refuse = (why: string): void => {
        clearTimeout(limit);
        request.destroy();
        fail(new HttpError(`${this.name} did not answer POST ${path}: ${why}`, 0));
      };
      const limit = setTimeout(() => refuse(`no answer within ${limitMs / 1000} s`), limitMs);
      request.on('error', (error: NodeJS.ErrnoException) => refuse(error.code ?? error.message));
      request.once('close', () => clearTimeout(limit));
      request.once('response', (response) => {
        clearTimeout(limit);
        done({ request, response });
      });
      request.end(JSON.stringify(body));
    });
  }

  /** As call, for answers that are not JSON. */
  async callBytes(path: string, options: Call = {}): Promise<Buffer> {
    const { method = 'GET', body, bytes: raw, timeoutMs = 10_000, maxBytes = ANSWER_BYTES_MAX } = options;
    const url = urlAt(this.http, path);
    const headers = headersOf({ body, bytes: raw }, this.#credential);
    // Not AbortSignal.timeout: its timer does not keep the process alive, and nor does a fetch whose connection was closed as
    // soon as it was accepted, as a published port of a container that is only starting does. The process would just end.
    const abort = new AbortController();
    const limit = setTimeout(() => abort.abort(new Error(`no answer within ${timeoutMs / 1000} s`)), timeoutMs);
    let response: Response;
    let bytes: Buffer;
    try {
      for (let again = method === 'GET'; ; again = false) {
        try {
          response = await fetch(url, {
            method,
            headers,
            ...(raw !== undefined ? { body: raw } : body === undefined ? {} : { body: JSON.stringify(body) }),
            // Services redirect nobody. Who is sent elsewhere would ask there what was meant for this one.
            redirect: 'error',
            signal: abort.signal,
          });
          break;
        } catch (error) {
          if (!again || !wasCut(error)) throw error;
        }
      }
      bytes = await bodyOf(response, maxBytes);
    } catch (error) {
      abort.abort();
      throw new HttpError(`${this.name} did not answer ${method} ${path}: ${reason(error)}`, 0);
    } finally {
      clearTimeout(limit);
    }
    if (!response.ok) {
      throw new HttpError(
        `${this.name} refused ${method} ${path} (${response.status}): ${messageOf(bytes.toString('utf8'))}`,
        response.status,
      );
    }
    return bytes;
  }
}

/** As Party.call, of somebody who is shown no credential. @param who the service's name for messages, @param base http://host:port */
export const call = <T>(who: string, base: string, path: string, options: Call = {}): Promise<T> =>
  new Party(who, base, null).call<T>(path, options);

/** The same, for answers that are not JSON. */
export const callBytes = (who: string, base: string, path: string, options: Call = {}): Promise<Buffer> =>
  new Party(who, base, null).callBytes(path, options);

function urlAt(base: string, path: string): URL {
  const url = new URL(path, base);
  // "//other/x" is a path to the eye, and another host to the URL.
  if (url.origin !== new URL(base).origin) throw new RangeError(`${path} is no path at ${base}`);
  return url;
}

function headersOf(sent: { body?: unknown; bytes?: unknown }, credential: string | null): Record<string, string> {
  const headers: Record<string, string> = {};
  if (sent.body !== undefined) headers['content-type'] = 'application/json';
  if (sent.bytes !== undefined) headers['content-type'] = 'application/octet-stream';
  if (credential !== null) headers['authorization'] = `Bearer ${credential}`;
  return headers;
}

/** The body, cut off where it is too long. @throws Error when it is */
async function bodyOf(response: Response, maxBytes: number): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  let length = 0;
  for await (const part of (response.body ?? []) as AsyncIterable<Uint8Array>) {
    length += part.length;
    if (length > maxBytes) throw new Error(`its answer has more than ${maxBytes} bytes`);
    parts.push(part);
  }
  return Buffer.concat(parts, length);
}

/** The connection ended before an answer came: most often one that had been left open was closed just as it was used again, and
 *  who asks once more asks on a new one. */
function wasCut(error: unknown): boolean {
  const code = (error as { cause?: NodeJS.ErrnoException }).cause?.code;
  return code === 'UND_ERR_SOCKET' || code === 'ECONNRESET';
}

function reason(error: unknown): string {
  const cause = (error as { cause?: NodeJS.ErrnoException }).cause;
  if (cause?.code) return cause.code;
  const text = cause instanceof Error ? cause.message : error instanceof Error ? error.message : String(error);
  return printable(text, MESSAGE_MAX);
}

/** What an answer says went wrong, as one printable line. */
export function messageOf(text: string): string {
  try {
    const o = JSON.parse(text) as { message?: unknown; error?: unknown } | null;
    // Testbeds of 0.1 have the sentence in `error` in places.
    const m = o?.message ?? o?.error ?? text;
    return printable(typeof m === 'string' ? m : JSON.stringify(m), MESSAGE_MAX);
  } catch {
    return printable(text, MESSAGE_MAX);
  }
}
