/** Errors of connections as Node has them: code, errno, syscall, address. */
import { constants } from 'node:os';
import { ERROR_CODES } from '../tcp/state.js';

export interface NetErrorPlace {
  syscall: 'connect' | 'read' | 'write' | 'listen';
  address?: string;
  port?: number;
}

/** @param error ERR_* or a code of Node's */
export function netError(error: number | string, place: NetErrorPlace): NodeJS.ErrnoException {
  const code = typeof error === 'string' ? error : ERROR_CODES[error] || 'ECONNRESET';
  const where = place.address === undefined ? '' : ` ${place.address}:${place.port}`;
  const errno = (constants.errno as Record<string, number>)[code];
  return Object.assign(new Error(`${place.syscall} ${code}${where}`), { code, errno: errno && -errno, ...place });
}
