/** Something that the user can put right: a bad setting, a port in use, a wrong secret. A main prints its message as one
 *  line on stderr and exits with code 2; so the message says what is wrong and what to do. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}
