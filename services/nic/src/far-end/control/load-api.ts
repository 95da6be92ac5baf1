/** The HTTP side of loads, and of requests and their answers. services/nic/README.md. */
import {
  CaptureError,
  UPLOAD_BYTES,
  parseCapture,
  MacRewriter,
  destinations,
  type MacMapping,
} from '@grantline/observe';
import { Refusal, refuse, type ServiceHttp } from '@grantline/service';
import { Type } from '@sinclair/typebox';
import { CaptureAnswer, LoadBody, LoadStatus, RequestBody, RequestStatus, parseLoad } from './api-schemas.js';
import type { Loads } from './loads.js';
import type { Requests } from './requests.js';

/** Largest capture file. */
const FILE_BYTES_MAX = UPLOAD_BYTES;

const BUSY = 'frames are being sent: DELETE /load first';

/** Adds the routes of loads. Before the server listens. */
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

/** Adds the routes of requests. Before the server listens. */
export function addRequestApi(http: ServiceHttp, requests: Requests): void {
  const answers = { 200: RequestStatus, 400: Refusal, 409: Refusal };
  const get = { schema: { summary: 'Requests, and the times of their answers', response: { 200: RequestStatus } } };
  http.get('/requests', get, () => requests.status());
  http.post(
    '/requests',
    { schema: { summary: 'Start asking', body: RequestBody, response: answers } },
    (request, reply) => {
      if (requests.busy) return refuse(reply, 409, 'requests are being sent: DELETE /requests first');
      try {
        requests.start(request.body);
      } catch (err) {
        if (!(err instanceof RangeError)) throw err;
        return refuse(reply, 400, err.message);
      }
      return requests.status();
    },
  );
  const measure = { schema: { summary: 'Times count from now on', response: answers } };
  http.post('/requests/measure', measure, (_request, reply) =>
    requests.measure() ? requests.status() : refuse(reply, 409, 'nothing is being asked: POST /requests first'),
  );
  const stop = { schema: { summary: 'Ask nothing more', response: { 200: RequestStatus } } };
  http.delete('/requests', stop, () => {
    requests.stop();
    return requests.status();
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
