/** The HTTP side of requests and their answers. services/nic/README.md. */
import type { ServiceHttp } from '@grantline/service';
import { Type } from '@sinclair/typebox';
import { RequestBody, RequestStatus } from './request-schemas.js';
import type { Requests } from './requests.js';

const Refusal = Type.Object({ error: Type.String() });
const answers = { 200: RequestStatus, 400: Refusal, 409: Refusal };

/** Adds the routes. Before the server listens. */
export function addRequestApi(http: ServiceHttp, requests: Requests): void {
  const get = { schema: { summary: 'Requests, and the times of their answers', response: { 200: RequestStatus } } };
  http.get('/requests', get, () => requests.status());
  http.post(
    '/requests',
    { schema: { summary: 'Start asking', body: RequestBody, response: answers } },
    (request, reply) => {
      if (requests.busy) {
        reply.code(409);
        return { error: 'requests are being sent: DELETE /requests first' };
      }
      try {
        requests.start(request.body);
      } catch (err) {
        if (!(err instanceof RangeError)) throw err;
        reply.code(400);
        return { error: err.message };
      }
      return requests.status();
    },
  );
  const measure = { schema: { summary: 'Times count from now on', response: answers } };
  http.post('/requests/measure', measure, (_request, reply) => {
    if (requests.measure()) return requests.status();
    reply.code(409);
    return { error: 'nothing is being asked: POST /requests first' };
  });
  const stop = { schema: { summary: 'Ask nothing more', response: { 200: RequestStatus } } };
  http.delete('/requests', stop, () => {
    requests.stop();
    return requests.status();
  });
}
