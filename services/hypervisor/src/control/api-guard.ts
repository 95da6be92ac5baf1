/** Who may change something: whoever has the operator's token. */
import { createHash, timingSafeEqual } from 'node:crypto';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { DomainError } from './domains.js';

/** Options of a route that needs the token. */
export interface Guard {
  onRequest: (request: FastifyRequest, reply: FastifyReply, next: () => void) => void;
}

/** Refuses calls without the token, with 401. */
export function guardOf(token: string): Guard {
  return {
    onRequest: (request, _reply, next) => {
      checkToken(request, token);
      next();
    },
  };
}

function checkToken(request: FastifyRequest, token: string): void {
  const given = /^Bearer (\S+)$/.exec(request.headers.authorization ?? '')?.[1] ?? '';
  const hash = (text: string): Buffer => createHash('sha256').update(text).digest();
  if (!timingSafeEqual(hash(given), hash(token))) throw new DomainError(401, "this call needs the operator's token");
}
