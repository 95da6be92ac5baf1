/** A small wrapper around fetch: JSON both ways, a time limit, and errors that name who was asked for what. */

export class HttpError extends Error {
  override readonly name = 'HttpError';
  /** 0 when no answer came. */
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
  token?: string;
  timeoutMs?: number;
}

/** @param who the service's name for messages, @param base http://host:port
 *  @returns the answer's JSON, or null when it is empty. @throws HttpError */
export async function call<T>(who: string, base: string, path: string, options: Call = {}): Promise<T> {
  const text = (await callBytes(who, base, path, options)).toString('utf8');
  if (text === '') return null as T;
  try {
    return JSON.parse(text) as T;
  } catch {
    throw new HttpError(`${who} answered ${options.method ?? 'GET'} ${path} with something that is not JSON`, 200);
  }
}

/** As call, for answers that are not JSON. */
export async function callBytes(who: string, base: string, path: string, options: Call = {}): Promise<Buffer> {
  const { method = 'GET', body, bytes: raw, token, timeoutMs = 10_000 } = options;
  const headers: Record<string, string> = {};
  if (body !== undefined) headers['content-type'] = 'application/json';
  if (raw !== undefined) headers['content-type'] = 'application/octet-stream';
  if (token !== undefined) headers['authorization'] = `Bearer ${token}`;
  // Not AbortSignal.timeout: its timer does not keep the process alive, and nor does a fetch whose connection was closed as
  // soon as it was accepted, as a published port of a container that is only starting does. The process would just end.
  const abort = new AbortController();
  const limit = setTimeout(() => abort.abort(new Error(`no answer within ${timeoutMs / 1000} s`)), timeoutMs);
  let response: Response;
  let bytes: Buffer;
  try {
    response = await fetch(new URL(path, base), {
      method,
      headers,
      ...(raw !== undefined ? { body: raw } : body === undefined ? {} : { body: JSON.stringify(body) }),
      signal: abort.signal,
    });
    bytes = Buffer.from(await response.arrayBuffer());
  } catch (error) {
    throw new HttpError(`${who} did not answer ${method} ${path}: ${reason(error)}`, 0);
  } finally {
    clearTimeout(limit);
  }
  if (!response.ok) {
    throw new HttpError(
      `${who} refused ${method} ${path} (${response.status}): ${messageOf(bytes.toString('utf8'))}`,
      response.status,
    );
  }
  return bytes;
}

function reason(error: unknown): string {
  const cause = (error as { cause?: NodeJS.ErrnoException }).cause;
  if (cause?.code) return cause.code;
  return error instanceof Error ? error.message : String(error);
}

function messageOf(text: string): string {
  try {
    const o = JSON.parse(text) as { message?: unknown; error?: unknown };
    const m = o.message ?? o.error ?? text;
    return typeof m === 'string' ? m : JSON.stringify(m);
  } catch {
    return text.slice(0, 200);
  }
}
