/** For tests: a hypervisor that is reached by messages. */
import { answerByMessage, callMessage } from '../src/grant/batches.js';
import type { Call } from '../src/hypervisor/hypervisor-port.js';

/** @param serve gets each call as the message that it would be, with seq 0, and gives the reply
 *  @returns a port's `hypercall` */
export const byMessages =
  (serve: (message: Buffer, onReply: (reply: Buffer) => void) => void) =>
  (call: Call): void =>
    serve(callMessage(call, 0), (reply) => answerByMessage(call, reply));
