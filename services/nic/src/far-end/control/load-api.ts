/** The HTTP side of loads. services/nic/README.md. */
import {
  CaptureError,
  UPLOAD_BYTES,
  parseCapture,
  MacRewriter,
  destinations,
  type MacMapping,
} from '@grantline/observe';
import type { ServiceHttp } from '@grantline/service';
import { Type, type Static } from '@sinclair/typebox';
import { CaptureAnswer, LoadBody, LoadStatus, parseLoad } from './load-schema.js';
import type { Loads } from './loads.js';

/** Largest capture file. */
const FILE_BYTES_MAX = UPLOAD_BYTES;

const Refusal = Type.Object({ error: Type.String(), message: Type.String() });
const BUSY = 'frames are being sent: DELETE /load first';

function refuse(
  reply: { code(status: 400 | 409): unknown },
  status: 400 | 409,
  message: string,
): Static<typeof Refusal> {
  reply.code(status);
  return { error: status === 400 ? 'Bad Request' : 'Conflict', message };
}

/** Adds the routes. Before the server listens. */
export function addLoadApi(http: ServiceHttp, loads: Loads): void {
  http.addContentTypeParser(
    'application/octet-stream',
    { parseAs: 'buffer', bodyLimit: FILE_BYTES_MAX },
    (_request, body, done) => done(null, body),
  );

  http.get('/load', { schema: { summary: 'The load under way', response: { 200: LoadStatus } } }, () => loads.status());

  http.post(
    '/load',
    {
      // The schema is for the documentation; parseLoad judges by it, with better messages.
      validatorCompiler: () => () => true,
      schema: { summary: 'Start sending', body: LoadBody, response: { 200: LoadStatus, 400: Refusal, 409: Refusal } },
    },
    (request, reply) => {
      const body = parseLoad(request.body);
      if (typeof body === 'string') return refuse(reply, 400, body);
      if (loads.busy) return refuse(reply, 409, BUSY);
      if (body.kind === 'generate') loads.generate(body);
      else if (loads.hasCapture) loads.replay(body);
      else return refuse(reply, 400, 'there is no capture: POST it to /load/capture first');
      return loads.status();
    },
  );

  http.post(
    '/load/capture',
    {
      bodyLimit: FILE_BYTES_MAX,
      schema: {
        summary: 'Load a capture (pcap or pcapng, Ethernet)',
        querystring: Type.Object({
          map: Type.Optional(
            Type.String({ description: 'JSON: [{"from": MAC, "to": MAC}], hosts of the capture that become guests' }),
          ),
        }),
        response: { 200: CaptureAnswer, 400: Refusal, 409: Refusal },
      },
    },
    (request, reply) => {
      if (loads.busy) return refuse(reply, 409, BUSY);
      if (!Buffer.isBuffer(request.body)) return refuse(reply, 400, 'send the file as application/octet-stream');
      try {
        const rewriter = new MacRewriter(parseMap(request.query.map ?? '[]'));
        const capture = parseCapture(request.body);
        loads.setCapture(capture, rewriter);
        const { format, count, cut, lengths, timesNs } = capture;
        const bytes = lengths.reduce((sum, n) => sum + n, 0);
        const seconds = timesNs.reduce((most, t) => Math.max(most, t), 0) / 1e9;
        return { format, frames: count, cut, bytes, seconds, destinations: destinations(capture) };
      } catch (err) {
        if (!(err instanceof CaptureError || err instanceof RangeError)) throw err;
        return refuse(reply, 400, err.message);
      }
    },
  );

  http.delete('/load', { schema: { summary: 'Stop sending', response: { 200: LoadStatus } } }, () => {
    loads.stop();
    return loads.status();
  });
}

/** @throws RangeError when it is no list of {from, to} */
function parseMap(text: string): MacMapping[] {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new RangeError('map is not JSON: expected [{"from": MAC, "to": MAC}]');
  }
  const isMapping = (m: unknown): m is MacMapping =>
    typeof m === 'object' &&
    m !== null &&
    typeof (m as MacMapping).from === 'string' &&
    typeof (m as MacMapping).to === 'string';
  if (!Array.isArray(value) || !value.every(isMapping))
    throw new RangeError('map must be a list of {"from": MAC, "to": MAC}');
  return value;
}
