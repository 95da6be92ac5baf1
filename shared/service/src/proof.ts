/** How a service shows that it is who a domain says: it makes of a question what only the holder of the domain's control key can.
 *  docs/wire/control-plane.md section 3, `service.announce`. */
import { createHmac } from 'node:crypto';

/** Route of the service. */
export const PROOF_PATH = '/proof';
/** Form of a question: 32 random bytes in hexadecimal digits. */
export const QUESTION = '^[0-9a-f]{64}$';

/** @returns the answer, 64 hexadecimal digits */
export const proofOf = (controlKey: string, question: string): string =>
  createHmac('sha256', controlKey).update(`grantline announced ${question}`).digest('hex');
