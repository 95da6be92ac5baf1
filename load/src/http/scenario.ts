/** Scenarios as they are typed: json, bytes:1M, upload:1M, chunked:1M/16K, ws:128. */
import { MAX_MESSAGE_BYTES, MAX_STREAM_CHUNK } from '@grantline/measure';
import { UserError } from '../base/errors.js';
import type { Scenario } from './plan.js';

/** The generator keeps a body for each connection. */
const MAX_BYTES = 64 << 20;
const MIN_MESSAGE_BYTES = 32;
const FORMS = 'json, bytes:1M, upload:1M, chunked, chunked:1M/16K, ws or ws:128';

/** "a,b" → scenarios. @throws UserError */
export function parseScenarios(text: string): Scenario[] {
  const all = text.split(',').map((part) => parseScenario(part.trim()));
  const twice = all.find((s, i) => all.findIndex((o) => o.name === s.name) !== i);
  if (twice) throw new UserError(`scenario "${twice.name}" is named twice`, 'name each once');
  return all;
}

function parseScenario(name: string): Scenario {
  const m = /^(json|bytes|upload|chunked|ws)(?::([^/]+))?(?:\/(.+))?$/.exec(name);
  if (!m) throw new UserError(`unknown scenario "${name}"`, `known are ${FORMS}`);
  const [, kind, size, chunk] = m;
  if ((kind === 'json' && size !== undefined) || (kind !== 'chunked' && chunk !== undefined))
    throw new UserError(`unknown scenario "${name}"`, `known are ${FORMS}`);
  switch (kind) {
    case 'bytes':
    case 'upload':
      return { kind, name, bytes: bytesIn(name, size ?? '1M', 1, MAX_BYTES) };
    case 'chunked':
      return {
        ...{ kind, name, bytes: bytesIn(name, size ?? '1M', 1, MAX_BYTES) },
        chunk: bytesIn(name, chunk ?? '16K', 1, MAX_STREAM_CHUNK),
      };
    case 'ws':
      return { kind, name, bytes: bytesIn(name, size ?? '128', MIN_MESSAGE_BYTES, MAX_MESSAGE_BYTES) };
    default:
      return { kind: 'json', name };
  }
}

function bytesIn(name: string, text: string, low: number, high: number): number {
  const m = /^(\d{1,9})([KM]?)$/i.exec(text);
  const unit = m?.[2].toUpperCase() === 'M' ? 1 << 20 : m?.[2].toUpperCase() === 'K' ? 1 << 10 : 1;
  const n = m ? Number(m[1]) * unit : NaN;
  if (!(n >= low && n <= high))
    throw new UserError(
      `the size in scenario "${name}" is out of range`,
      `give ${low} to ${high} bytes, with K or M where wanted`,
    );
  return n;
}
