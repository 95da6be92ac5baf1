/** How a service refuses what it was asked, whoever refuses: a route, a gate, or fastify itself, whose own refusals look like these. */
import { STATUS_CODES } from 'node:http';
import { Type, type Static } from '@sinclair/typebox';

export const Refusal = Type.Object({
  statusCode: Type.Integer(),
  error: Type.String({ description: 'the status in words' }),
  message: Type.String({ description: 'what is wrong, for people' }),
});
export type Refusal = Static<typeof Refusal>;

/** Sets the status of an answer. @param sentence what is wrong @returns its body */
export function refuse<S extends number>(reply: { code(status: S): unknown }, status: S, sentence: string): Refusal {
  reply.code(status);
  return { statusCode: status, error: STATUS_CODES[status] ?? 'Refused', message: sentence };
}
