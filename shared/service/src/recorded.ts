/** Routes to what the application of a recorded run kept. */
import { Type } from '@sinclair/typebox';
import { writePcap } from '@grantline/observe';
import type { RecordApp, RxStack } from '@grantline/measure';
import type { ServiceHttp } from './http.js';
import type { Keep } from './session-follower.js';

/** Body of GET /recorded/summary; the digest is of the set of frames, whatever their order. */
const Summary = Type.Object({
  frames: Type.Number(),
  bytes: Type.Number(),
  notKept: Type.Number(),
  digest: Type.String(),
});

/** For sessions: what was recorded in one is forgotten with it. */
export function keepRecorded(stack: Pick<RxStack, 'app'>, record: RecordApp): Keep {
  return () => ({
    over: () => {
      if (stack.app !== record) record.forget();
    },
  });
}

export function addRecordRoutes(http: ServiceHttp, record: RecordApp): void {
  http.get(
    '/recorded',
    {
      schema: {
        summary: 'Frames of a recorded run as a pcap file; the times only tell their order',
        response: { 200: Type.Unknown() },
      },
    },
    (_request, reply) => {
      const frames = [...record.frames()].map((bytes, i) => ({ timeNs: i * 1000, bytes }));
      return reply.type('application/vnd.tcpdump.pcap').send(Buffer.from(writePcap(frames).buffer));
    },
  );
  http.get(
    '/recorded/summary',
    {
      schema: {
        summary: 'How many frames a recorded run kept, and the digest of their set',
        response: { 200: Summary },
      },
    },
    () => ({ frames: record.count, bytes: record.bytes, notKept: record.notKept, digest: record.digest() }),
  );
}
