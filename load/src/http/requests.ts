/** The requests of a connection, and what answers they must get: every answer is compared whole. */
import type { Request } from 'autocannon';
import { crc32 } from 'node:zlib';
import { patternBody, patternStart, PATTERN_PERIOD, REQUEST_ID, type UploadBody } from '@grantline/measure';
import type { Scenario } from './plan.js';

/** Requests that differ, of each connection. */
const VARIANTS = 4;

export interface Expected {
  id: string;
  body: string;
}

/** One request, and what its answer must be. */
export interface Question {
  request: Request;
  expected: Expected;
  /** Bytes of the body that goes one way or the other. */
  bytes: number;
}

/** What GET / of a server answers to an id. */
export type RootOf = (id: string) => string;

/** Makes the questions of each connection. */
export class Questions {
  private readonly scenario: Exclude<Scenario, { kind: 'ws' }>;
  /** Bodies are parts of it, which are not copied. */
  private readonly text: string;

  constructor(scenario: Exclude<Scenario, { kind: 'ws' }>) {
    this.scenario = scenario;
    const down = scenario.kind === 'bytes' || scenario.kind === 'chunked';
    this.text = down ? patternBody(0, PATTERN_PERIOD + scenario.bytes).toString('latin1') : '';
  }

  /** @param connection number of it: its ids, and its bodies, are no other's */
  of(connection: number, rootOf: RootOf): Question[] {
    const s = this.scenario;
    // A body that goes up stands in memory with its request.
    const variants = s.kind === 'upload' ? 1 : VARIANTS;
    return Array.from({ length: variants }, (_, k) =>
      this.question(`c${connection}-${k}`, connection * VARIANTS + k, rootOf),
    );
  }

  private question(id: string, seed: number, rootOf: RootOf): Question {
    const s = this.scenario;
    const headers = { [REQUEST_ID]: id };
    switch (s.kind) {
      case 'json': {
        const body = rootOf(id);
        return { request: { method: 'GET', path: '/', headers }, expected: { id, body }, bytes: body.length };
      }
      case 'bytes':
      case 'chunked': {
        const path =
          s.kind === 'chunked' ? `/stream/${s.bytes}?seed=${seed}&chunk=${s.chunk}` : `/bytes/${s.bytes}?seed=${seed}`;
        const start = patternStart(seed);
        const body = this.text.substring(start, start + s.bytes);
        return { request: { method: 'GET', path, headers }, expected: { id, body }, bytes: s.bytes };
      }
      case 'upload': {
        const body = patternBody(seed, s.bytes);
        const answer: UploadBody = { id, bytes: s.bytes, crc32: crc32(body).toString(16).padStart(8, '0') };
        return {
          request: {
            method: 'POST',
            path: '/bytes',
            headers: { ...headers, 'content-type': 'application/octet-stream' },
            body,
          },
          expected: { id, body: JSON.stringify(answer) },
          bytes: s.bytes,
        };
      }
    }
  }
}
