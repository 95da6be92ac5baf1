/** The HTTP side of the cable's far end, for frames that the guests send: which frames it shall expect, and how fast the
 *  link is in that direction. services/nic/README.md. */
import type { ServiceHttp } from '@grantline/service';
import { Type } from '@sinclair/typebox';
import type { CableOut } from '../../hardware/data/cable-out.js';
import { ETH_MAX_FRAME, ETH_MIN_FRAME, LINK_GBPS } from '@grantline/frames';
import type { Sink } from '../data/sink.js';

const Body = Type.Object(
  {
    seed: Type.Integer({ minimum: 0, maximum: 2 ** 32 - 1 }),
    frameSizes: Type.Array(Type.Integer({ minimum: ETH_MIN_FRAME, maximum: ETH_MAX_FRAME }), {
      minItems: 1,
      maxItems: 64,
    }),
    linkGbps: Type.Union([Type.Null(), ...LINK_GBPS.map((g) => Type.Literal(g))], {
      description: 'Gb/s; null: unlimited',
    }),
  },
  { additionalProperties: false },
);

/** Adds the route. Before the server listens. */
export function addSinkApi(http: ServiceHttp, sink: Sink, out: CableOut): void {
  http.post(
    '/sink',
    {
      schema: {
        summary: 'A run begins whose frames come out of the cable',
        body: Body,
        response: { 200: Type.Object({ ready: Type.Boolean() }) },
      },
    },
    (request) => {
      const { seed, linkGbps } = request.body;
      out.setSpeed(linkGbps);
      sink.reset({ seed });
      return { ready: true };
    },
  );
}
